"""The progress page: what it says in each state, and never more than the installer reported."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.host import ports, small_server
from sandbox.host.processes import die_with_parent
from sandbox.host.small_server import Request
from sandbox.install import progress_page
from tests.process.processes import wait_until

NOW = 1_700_000_000.0
BROWSER = {"accept": "text/html,*/*;q=0.8"}
FAILURE = {
    "step": "GPU driver",
    "reason": "The driver 470 is older than 580.",
    "hint": "Run `sudo apt-get install nvidia-open`.",
    "log": "/var/log/ai-sandbox/driver.log",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "progress.json"


def write(file: Path, age_s: float = 0.0, **given: Any) -> None:
    """What the installer wrote ``age_s`` seconds before ``NOW``, after running for 100 s."""
    steps = [
        {"name": "Installer", "state": "done", "percent": None, "seconds": 4.5},
        {"name": "GPU driver", "state": "running", "percent": 20.0, "seconds": 30.0},
        {"name": "Services", "state": "waiting", "percent": None, "seconds": None},
    ]
    progress = {
        "model": "some/model",
        "state": "running",
        "percent": 43,
        "began": NOW - age_s - 100,
        "now": NOW - age_s,
        "steps": steps,
        "failure": None,
    }
    file.write_text(json.dumps(progress | given))
    os.utime(file, (NOW - age_s, NOW - age_s))


def ask(file: Path, path: str, method: str = "GET", **headers: str) -> small_server.Answer:
    return progress_page.answer(Request(method, path, headers), file, NOW)


def message(answer: small_server.Answer) -> str:
    said: str = json.loads(answer.body)["error"]["message"]
    return said


def test_clocks_go_on_between_two_reports(file: Path) -> None:
    write(file, age_s=5)
    progress = progress_page.read(file, NOW)
    assert progress["elapsed"] == 105
    assert [step["seconds"] for step in progress["steps"]] == [4.5, 35, None]


def test_a_failure_stays_as_it_was_however_old(file: Path) -> None:
    write(file, age_s=86_400, state="failed", failure=FAILURE)
    progress = progress_page.read(file, NOW)
    assert progress["state"] == "failed"
    assert progress["elapsed"] == 100


def test_an_installer_that_went_silent_is_not_shown_as_running(file: Path) -> None:
    write(file, age_s=180)
    progress = progress_page.read(file, NOW)
    assert progress["state"] == "silent"
    assert progress["message"] == "The installer has said nothing for 3 minutes."
    assert "sudo ai-sandbox install" in progress["hint"]


def test_a_clock_that_was_set_back_does_no_harm(file: Path) -> None:
    write(file, age_s=-3600)
    assert progress_page.read(file, NOW)["state"] == "running"


def test_nothing_is_made_up_before_the_first_report(file: Path) -> None:
    progress = progress_page.read(file, NOW)
    assert progress["state"] == "unknown"
    assert progress["message"] == "The installer has not reported anything yet."
    assert progress["steps"] == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"state": "running"}', '{"state": "mad"}', "\udcff"]
)
def test_a_broken_report_is_said_to_be_one(file: Path, text: str) -> None:
    file.write_bytes(text.encode(errors="surrogateescape"))
    progress = progress_page.read(file, NOW)
    assert progress["state"] == "unknown"
    assert progress["message"].endswith("cannot be read.")


def test_only_what_the_page_shows_leaves_the_machine(file: Path) -> None:
    write(file, token="hf_secret")
    assert b"hf_secret" not in ask(file, "/progress.json").body
    assert b"hf_secret" not in ask(file, "/", **BROWSER).body


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/health", "/status"])
def test_programs_get_503_with_what_is_going_on(file: Path, path: str) -> None:
    write(file)
    answer = ask(file, path, **BROWSER)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert message(answer).startswith(
        "AI Sandbox is being installed: 1 of 3 steps are done, 43%. Try again"
    )


def test_a_post_gets_503_at_any_address(file: Path) -> None:
    write(file)
    assert ask(file, "/", "POST").status == 503


def test_programs_are_told_why_it_failed_and_what_to_do(file: Path) -> None:
    write(file, state="failed", failure=FAILURE)
    assert message(ask(file, "/v1/models")) == (
        "The installation of AI Sandbox failed at the step 'GPU driver': "
        "The driver 470 is older than 580. Run `sudo apt-get install nvidia-open`. "
        "The log on the server is /var/log/ai-sandbox/driver.log."
    )


def test_programs_are_told_of_silence(file: Path) -> None:
    write(file, age_s=180)
    assert "has said nothing for 3 minutes" in message(ask(file, "/v1/models"))


def test_the_page_has_what_is_known_without_asking_again(file: Path) -> None:
    write(file)
    answer = ask(file, "/", **BROWSER)
    assert answer.status == 200
    assert b'"percent": 43' in answer.body
    # For browsers without scripts.
    assert b"1 of 3 steps are done" in answer.body


def test_a_name_cannot_become_markup(file: Path) -> None:
    write(file, state="failed", failure=FAILURE | {"reason": "</script><script>bad()"})
    page = ask(file, "/", **BROWSER).body
    assert b"<script>bad" not in page


def test_the_page_names_no_other_server() -> None:
    page = progress_page.PAGE.read_text(encoding="utf-8")
    # The namespace of the icon is a name, not an address that is fetched.
    assert "//" not in page.replace("http://www.w3.org/2000/svg", "").replace("// ", "")


def test_the_program_answers_and_frees_its_port_on_sigterm(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sandbox.install.progress_page", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--file", str(file)]

    def is_up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        except httpx.TransportError:
            return False

    with subprocess.Popen(command, preexec_fn=die_with_parent) as process:
        wait_until(is_up, 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    ports.check_port_free("127.0.0.1", port, "UI_PORT")


def test_a_port_in_use_is_one_sentence(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--file", str(file)]
        assert progress_page.main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"Port {port} is in use by PID {os.getpid()}")


@pytest.mark.parametrize("module", [progress_page, small_server, ports])
def test_it_parses_on_python_3_9(module: Any) -> None:
    ast.parse(Path(module.__file__).read_text(), feature_version=(3, 9))
