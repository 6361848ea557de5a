"""Bringing uv and Python: which of the ways is taken, on machines made of small programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import tools
from sandbox.install.commands import Commands

VERSION = "9.8.7"
Machine = Callable[[str, str], Path]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "log", pauses_s=())


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "uv.txt"
    file.write_text(f"uv=={VERSION} \\\n    --hash=sha256:00\n")
    return file


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Puts a shell script on PATH, where otherwise nothing of the real machine's is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def add(name: str, script: str) -> Path:
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return add


def python_without_pip(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    # With PYTHONPATH set it has what that wheel brings, as a real Python would.
    script = (
        f'[ -n "$PYTHONPATH" ] || {{ echo "No module named pip"; exit 1; }}\n'
        f'exec {sys.executable} "$@"'
    )
    monkeypatch.setattr(sys, "executable", str(machine("python", script)))
    monkeypatch.setattr(tools, "_bundled_pip", lambda: [])


def test_uv_on_path_of_the_pinned_version_is_used(
    machine: Machine, commands: Commands, lock: Path, tmp_path: Path
) -> None:
    uv = machine("uv", f"echo uv {VERSION}")
    link = tools.ensure_uv(tmp_path / "tools", lock, commands)
    assert link.resolve() == uv


def test_uv_on_path_of_another_version_is_not_used(
    machine: Machine,
    commands: Commands,
    lock: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine("uv", "echo uv 1.0.0")
    # A pip that installs into its --target what the real one would.
    pip = (
        'while [ "$1" != --target ]; do [ -n "$1" ] || exit 0; shift; done\n'
        f"/bin/mkdir -p $2/bin; printf '#!/bin/sh\\necho uv {VERSION}\\n' > $2/bin/uv\n"
        "/bin/chmod +x $2/bin/uv"
    )
    monkeypatch.setattr(sys, "executable", str(machine("python", pip)))
    link = tools.ensure_uv(tmp_path / "tools", lock, commands)
    assert link.resolve() == tmp_path / f"tools/uv-{VERSION}/bin/uv"


def test_uv_that_was_brought_before_is_not_fetched_again(
    machine: Machine, commands: Commands, lock: Path, tmp_path: Path
) -> None:
    uv = machine("uv", f"echo uv {VERSION}")
    tools.ensure_uv(tmp_path / "tools", lock, commands)
    kept = uv.rename(tmp_path / "kept")
    (tmp_path / "tools/uv").unlink()
    (tmp_path / "tools/uv").symlink_to(kept)
    assert tools.ensure_uv(tmp_path / "tools", lock, commands).resolve() == kept


def test_lists_that_know_no_package_are_replaced_by_ones_of_our_own(
    machine: Machine,
    commands: Commands,
    lock: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python_without_pip(machine, monkeypatch)
    asked = tmp_path / "asked"
    machine("apt-get", f'echo "$@" >> {asked}')
    machine("dpkg", "exit 1")
    with pytest.raises(SandboxError, match="no pip"):
        tools.ensure_uv(tmp_path / "tools", lock, commands)
    update = next(line for line in asked.read_text().splitlines() if line.endswith("update"))
    # Nothing of the machine's own apt is touched.
    assert "Dir::State::Lists=" in update and "Dir::Cache=" in update


def test_without_pip_the_wheel_of_the_distribution_is_unpacked(
    machine: Machine,
    commands: Commands,
    lock: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python_without_pip(machine, monkeypatch)
    asked = tmp_path / "asked"
    machine(
        "apt-get",
        f'echo "$@" >> {asked}\ncase "$*" in *download*) : > python3-pip-whl_1_all.deb;; esac',
    )
    machine("dpkg", f'/bin/mkdir -p "$3/usr/share/python-wheels"; echo "$@" >> {asked}')
    with pytest.raises(SandboxError, match="no pip"):
        tools.ensure_uv(tmp_path / "tools", lock, commands)
    download, *_, unpack = asked.read_text().splitlines()
    assert download.endswith("download python3-pip-whl")
    assert unpack.startswith("-x ")


def test_without_pip_and_apt_a_sentence_says_what_to_install(
    machine: Machine,
    commands: Commands,
    lock: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python_without_pip(machine, monkeypatch)
    with pytest.raises(SandboxError) as raised:
        tools.ensure_uv(tmp_path / "tools", lock, commands)
    assert "python3-pip" in raised.value.hint


def test_a_python_3_11_of_the_machine_is_taken(
    machine: Machine, commands: Commands, tmp_path: Path
) -> None:
    uv = machine("uv", "echo /usr/bin/python3.11")
    assert tools.find_python(uv, tmp_path, commands) == Path("/usr/bin/python3.11")


def test_without_a_python_3_11_uv_is_told_to_bring_one(
    machine: Machine, commands: Commands, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    brought = tmp_path / "python/bin/python3.11"
    uv = machine(
        "uv",
        f'echo "$@" >> {asked}\n'
        f'case "$2" in install) : > {tmp_path}/done;; esac\n'
        f"[ -e {tmp_path}/done ] && echo {brought}",
    )
    assert tools.find_python(uv, tmp_path, commands) == brought
    install = asked.read_text().splitlines()[1]
    assert install == f"python install --no-bin --install-dir {tmp_path}/python 3.11"


def test_a_python_that_cannot_be_fetched_is_explained(
    machine: Machine, commands: Commands, tmp_path: Path
) -> None:
    uv = machine("uv", "echo 'error sending request'; exit 2")
    with pytest.raises(SandboxError) as raised:
        tools.find_python(uv, tmp_path, commands)
    assert raised.value.message == (
        "Python 3.11 could not be fetched, because a server or the network failed:\n"
        "error sending request"
    )
    assert str(commands.log) in raised.value.hint
