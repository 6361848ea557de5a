"""`ai-sandbox doctor`: what it collects, that no part stops the rest, that no secret is shown."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.process.api_service import free_port, run
from tests.standins.programs import Programs

SECTIONS = [
    "machine", "versions", "services", "API", "GPU", "memory and disk", "ports", "settings",
    "errors in the journal", "installation",
]  # fmt: skip
KEY = "a-key-that-nobody-must-see"
TOKEN = "a-token-that-nobody-must-see"


def doctor(tmp_path: Path, *more: str, **settings: str) -> dict[str, Any]:
    ended = run(tmp_path, "doctor", "--json", *more, **settings)
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def test_every_section_is_there_in_a_clone(tmp_path: Path) -> None:
    report = doctor(tmp_path)
    assert list(report) == SECTIONS
    assert report["versions"]["release"] == "a clone"
    assert any(name.startswith("vllm") for name in report["versions"])


def test_people_read_the_same_as_a_table(tmp_path: Path) -> None:
    ended = run(tmp_path, "doctor", API_PORT=str(free_port()))
    assert [line[3:] for line in ended.stdout.splitlines() if line.startswith("== ")] == SECTIONS
    assert "nothing answers on port" in ended.stdout


def test_the_holder_of_a_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        assert f"PID {os.getpid()} " in doctor(tmp_path, UI_PORT=port)["ports"][port]


def test_wrong_settings_are_said_and_the_rest_is_there(tmp_path: Path) -> None:
    file = tmp_path / "box.env"
    file.write_text(f"API_KEY={KEY}\nAPI_PORT=none\n")
    report = doctor(tmp_path, "--env-file", str(file))
    assert "API_PORT" in report["settings"]["error"]
    assert report["machine"]["kernel"]
    assert KEY not in json.dumps(report)


def test_no_secret_is_shown_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(tmp_path / "bin", monkeypatch)
    leak = f"ERROR key {KEY} token {TOKEN} old hf_abcdefghijklmnop Authorization: Bearer xyzxyzxyz"
    programs.add("journalctl", f"echo '{leak}'")
    programs.add("systemctl", f"echo LoadState=loaded; echo 'StatusText={leak}'")
    file = tmp_path / "box.env"
    file.write_text(f"HF_TOKEN={TOKEN}\n")
    path = {"PATH": os.environ["PATH"]}
    report = doctor(tmp_path, "--env-file", str(file), API_KEY=f"another-key,{KEY}", **path)
    (line,) = report["errors in the journal"]["ai-sandbox-api.service"]
    assert line.count("(not shown)") == 4
    for secret in (KEY, TOKEN, "another-key", "hf_abcdefghijklmnop", "xyzxyzxyz"):
        assert secret not in json.dumps(report)


def test_a_part_that_hangs_or_fails_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(tmp_path / "bin", monkeypatch)
    programs.add("journalctl", "exec sleep 60")
    programs.add("systemctl", "exec sleep 60")
    report = doctor(tmp_path, PATH=os.environ["PATH"])
    assert "error" in report["errors in the journal"]
    assert "no answer" in report["services"]["error"]
    assert list(report) == SECTIONS


def test_only_lines_that_look_like_trouble_are_taken_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(tmp_path / "bin", monkeypatch)
    programs.add("journalctl", "echo INFO all is well; echo WARNING: low; echo ValueError: no")
    report = doctor(tmp_path, PATH=os.environ["PATH"])
    lines = report["errors in the journal"]["ai-sandbox-ui.service"]
    assert lines == ["WARNING: low", "ValueError: no"]
