"""stackscript.sh as a process, as far as the installer: what it hands over, keeps and says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.install import pack
from tests.shell.machine import SCRIPT, Machine, serving

NASTY = "  '\"\\ $HOME $(touch bad) `touch bad` # ;&|<>*?~ !! %s\n\tü\u2028\ufeff🙂 "


def test_what_was_typed_reaches_the_installer_unchanged(machine: Machine) -> None:
    not_utf8 = "\udcff\udc80"
    done = machine.run(MODEL_ID=NASTY, HF_TOKEN_PASSWORD=f"hf{NASTY}", MAX_MODEL_LEN=not_utf8)
    assert done.returncode == 0
    got = machine.seen["environment"]
    assert got["MODEL_ID"] == NASTY
    assert got["HF_TOKEN_PASSWORD"] == f"hf{NASTY}"
    assert got["MAX_MODEL_LEN"] == not_utf8
    assert machine.seen["arguments"] == ["box"]
    assert not list(machine.root.rglob("bad"))


def test_secrets_are_not_in_the_log(machine: Machine) -> None:
    done = machine.run(HF_TOKEN_PASSWORD="hf_5ba7", API_KEY_PASSWORD="sk-5ba7")
    assert "5ba7" not in done.stdout + done.stderr + machine.log.read_text()


def test_the_installer_can_find_its_programs_and_speaks_utf8(machine: Machine) -> None:
    machine.run()
    environment = machine.seen["environment"]
    assert {"/usr/sbin", "/usr/bin"} <= set(environment["PATH"].split(":"))
    assert (environment["HOME"], environment["LC_ALL"]) == ("/root", "C.UTF-8")


@pytest.mark.parametrize("options", [["--bake"], ["--bake", "--gpu"]])
def test_bake_is_passed_on_and_leaves_no_log_in_the_image(
    machine: Machine, options: list[str]
) -> None:
    assert machine.run(*options).returncode == 0
    assert machine.seen["arguments"] == ["box", *options]
    assert not machine.log.exists()


@pytest.mark.parametrize("words", [["--bakery"], ["box"], [""], ["--bake", "--bake --gpu"]])
def test_what_it_does_not_understand_is_refused(machine: Machine, words: list[str]) -> None:
    done = machine.run(*words)
    assert done.returncode == 2
    assert f"{words[-1]} is not understood" in done.stderr
    assert not machine.was_touched


def test_help_changes_nothing(machine: Machine) -> None:
    done = machine.run("--help")
    assert done.returncode == 0
    assert "stackscript.sh --bake " in done.stdout
    assert not machine.was_touched


def test_it_says_that_it_must_be_root(machine: Machine) -> None:
    with SCRIPT.open() as script:
        done = subprocess.run(
            ["/bin/bash", "-s"], stdin=script, env=machine.environment(), cwd="/",
            user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "stackscript.sh: It must run as root: put sudo in front of the command.\n"


def test_it_also_runs_from_a_pipe(machine: Machine) -> None:
    with SCRIPT.open() as script:
        environment = machine.environment(AI_SANDBOX_SOURCE=machine.source)
        subprocess.run(["/bin/bash"], stdin=script, env=environment, check=True, timeout=60)
    assert machine.seen["arguments"] == ["box"]


def test_a_copy_for_development_wants_a_source(machine: Machine) -> None:
    done = machine.run(AI_SANDBOX_SOURCE="")
    assert done.returncode == 1
    assert "names no release. Set AI_SANDBOX_SOURCE" in machine.motd.read_text()


def test_a_clone_is_packed_without_what_a_box_does_not_need(machine: Machine) -> None:
    for name in ("data/chats.db", ".venv/bin/python", "sandbox/__pycache__/x.pyc", "Makefile"):
        (machine.source / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.source / name).write_text("not for a box")
    expected = [str(file) for file in pack.files(machine.source)]
    machine.run()
    assert machine.seen["files"] == sorted(expected)


def test_an_incomplete_clone_is_refused(machine: Machine) -> None:
    (machine.source / "LICENSE").unlink()
    assert machine.run().returncode == 1
    assert f"{machine.source} is not a copy of AI Sandbox: it has no LICENSE" in (
        machine.motd.read_text()
    )


@pytest.mark.parametrize("name", ["nothing", "var"])
def test_a_source_that_is_none_is_refused(machine: Machine, name: str) -> None:
    assert machine.run(AI_SANDBOX_SOURCE=machine.root / name).returncode == 1
    assert f"AI_SANDBOX_SOURCE is {machine.root / name}, which is" in machine.motd.read_text()


def test_an_archive_can_be_the_source(machine: Machine, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(pack.archive(machine.source))
    assert machine.run(AI_SANDBOX_SOURCE=archive).returncode == 0
    assert "LICENSE" in machine.seen["files"]


def test_half_an_archive_is_refused(machine: Machine, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(pack.archive(machine.source)[:-1000])
    assert machine.run(AI_SANDBOX_SOURCE=archive).returncode == 1
    assert "is not a whole .tar.gz archive" in machine.motd.read_text()
    assert not (machine.root / "seen.json").exists()


def test_the_release_that_is_named_is_installed(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    packed = pack.archive(machine.source)
    (tmp_path / "web/a.tar.gz").write_bytes(packed)
    with serving(tmp_path / "web") as address:
        script = machine.script_of_a_release(
            f"{address}a.tar.gz", hashlib.sha256(packed).hexdigest()
        )
        assert machine.run(script=script, AI_SANDBOX_SOURCE="").returncode == 0
    assert machine.seen["arguments"] == ["box"]


def test_another_archive_than_the_named_one_is_not_unpacked(
    machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    packed = pack.archive(machine.source)
    (tmp_path / "web/a.tar.gz").write_bytes(packed)
    with serving(tmp_path / "web") as address:
        script = machine.script_of_a_release(f"{address}a.tar.gz", "0" * 64)
        assert machine.run(script=script, AI_SANDBOX_SOURCE="").returncode == 1
    said = machine.motd.read_text()
    assert hashlib.sha256(packed).hexdigest() in said
    assert "0" * 64 in said
    assert not (machine.root / "seen.json").exists()


def test_no_network_is_a_sentence(machine: Machine) -> None:
    with socket.socket() as taken:
        # Bound and not listening: whoever connects is refused.
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/a.tar.gz"
        script = machine.script_of_a_release(address, "0" * 64)
        assert machine.run(script=script, AI_SANDBOX_SOURCE="").returncode == 1
    assert f"The release could not be fetched from {address}" in machine.motd.read_text()


def test_a_failure_of_the_installer_keeps_its_status_and_is_shown_at_login(
    machine: Machine,
) -> None:
    machine.motd.parent.mkdir()
    machine.motd.write_text("Welcome to this machine.\n")
    assert machine.run(INSTALLER_STATUS="78").returncode == 78
    said = machine.motd.read_text()
    assert "Installing AI Sandbox ended with status 78." in said
    assert str(machine.log) in said
    assert f"AI_SANDBOX_SOURCE='{machine.source}' bash {SCRIPT}\n" in said
    before = machine.motd.with_name("motd.before-ai-sandbox")
    assert before.read_text() == "Welcome to this machine.\n"


def test_the_installers_own_sentences_are_shown_at_login(machine: Machine) -> None:
    machine.run(INSTALLER_STATUS="1", INSTALLER_SAYS="ai-sandbox: a former failure")
    machine.run(
        "--bake", INSTALLER_STATUS="1", INSTALLER_SAYS="ai-sandbox: one\nhint\nai-sandbox: two"
    )
    said = machine.motd.read_text()
    assert "What failed:  one\n                two\n" in said
    assert "a former failure" not in said
    assert f"{SCRIPT} --bake\n" in said


def test_all_lines_of_a_message_are_shown_and_not_its_hint(machine: Machine) -> None:
    machine.run(INSTALLER_STATUS="1", INSTALLER_SAYS="ai-sandbox: - one\n  - two\nhint\n  more")
    assert "What failed:  - one\n                - two\n  The log" in machine.motd.read_text()


@pytest.mark.parametrize(("status", "is_replaced"), [("0", False), ("3", True)])
def test_a_box_that_serves_keeps_its_message(
    machine: Machine, status: str, is_replaced: bool
) -> None:
    (machine.root / "opt/ai-sandbox/current").mkdir(parents=True)
    machine.motd.parent.mkdir()
    machine.motd.write_text("AI Sandbox: the addresses")
    # A function of the shell that starts the script, in place of the program.
    systemctl: dict[str, Any] = {"BASH_FUNC_systemctl%%": f"() {{ return {status}; }}"}
    assert machine.run(INSTALLER_STATUS="1", **systemctl).returncode == 1
    assert ("NOT installed" in machine.motd.read_text()) is is_replaced


def test_what_the_installer_says_of_its_failure_stays(machine: Machine) -> None:
    assert machine.run(INSTALLER_STATUS="1", INSTALLER_MOTD="its reason").returncode == 1
    assert machine.motd.read_text() == "its reason"


def test_a_second_failure_keeps_the_first_message_of_the_day(machine: Machine) -> None:
    machine.motd.parent.mkdir()
    machine.motd.write_text("Welcome to this machine.\n")
    for _ in range(2):
        machine.run(INSTALLER_STATUS="1")
    before = machine.motd.with_name("motd.before-ai-sandbox")
    assert before.read_text() == "Welcome to this machine.\n"


@pytest.mark.parametrize("status", ["0", "1"])
def test_nothing_temporary_stays(machine: Machine, status: str) -> None:
    machine.run(INSTALLER_STATUS=status)
    assert not list(machine.temporary.iterdir())


@pytest.mark.parametrize("status", ["0", "1"])
def test_the_log_has_all_to_the_last_line_and_is_roots(machine: Machine, status: str) -> None:
    done = machine.run(INSTALLER_LINES="50000", INSTALLER_STATUS=status)
    text = machine.log.read_text()
    assert text == done.stdout
    assert text.count("\nline ") == 50000
    last = f"AI Sandbox was not installed (status 1). The log is {machine.log}."
    assert text.splitlines()[-1] == ("line 49999" if status == "0" else last)
    assert machine.log.stat().st_mode & 0o777 == 0o600


def test_the_script_does_not_end_before_its_log_is_written(machine: Machine) -> None:
    with console(machine) as keyboard:
        # More than the console takes before somebody reads, and less than the script's pipe does.
        environment = machine.environment(AI_SANDBOX_SOURCE=machine.source, INSTALLER_LINES="3000")
        with subprocess.Popen([str(SCRIPT)], env=environment, stdout=subprocess.DEVNULL) as script:
            with contextlib.suppress(subprocess.TimeoutExpired):
                script.wait(2)
            if script.poll() is None:
                read_until(keyboard, b"line 2999\r\n")
        assert machine.log.read_text().endswith("line 2999\n")


def test_a_second_run_adds_to_the_log(machine: Machine) -> None:
    machine.run()
    machine.run()
    assert machine.log.read_text().count("stackscript.sh started") == 2


def test_linodes_console_sees_it_too(machine: Machine) -> None:
    with console(machine) as keyboard:
        assert machine.run(INSTALLER_LINES="10").returncode == 0
        assert b"words of the installer" in read_until(keyboard, b"line 9\r\n")


@contextlib.contextmanager
def console(machine: Machine) -> Iterator[int]:
    """Give the machine a console; the descriptor on which it is read."""
    keyboard, screen = pty.openpty()
    (machine.root / "dev").mkdir()
    (machine.root / "dev/ttyS0").symlink_to(os.ttyname(screen))
    yield keyboard
    os.close(keyboard)
    os.close(screen)


def read_until(keyboard: int, end: bytes) -> bytes:
    shown = b""
    while not shown.endswith(end):
        shown += os.read(keyboard, 10_000)
    return shown


def test_it_goes_on_when_nobody_reads_what_it_prints(machine: Machine) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = machine.environment(AI_SANDBOX_SOURCE=machine.source, INSTALLER_LINES="50000")
    command = ["/bin/bash", str(SCRIPT)]
    done = subprocess.run(command, env=environment, stdout=write_end, stderr=write_end)
    os.close(write_end)
    assert done.returncode == 0
    assert "line 49999" in machine.log.read_text()


def test_a_script_that_was_cut_runs_nothing(machine: Machine, tmp_path: Path) -> None:
    lines = SCRIPT.read_text().splitlines(keepends=True)
    assert lines[-1] == 'main "$@"\n'
    cut = tmp_path / "cut.sh"
    for count in range(len(lines)):
        cut.write_text("".join(lines[:count]))
        machine.run(script=cut)
        assert not machine.was_touched, f"cut after line {count}"
