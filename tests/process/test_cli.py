"""The verbs that do not serve: what they print and how they end."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sandbox import __version__
from tests.process.api_service import COMMAND, GUIDE, ApiService, environment, free_port, run


def test_the_version_is_printed(tmp_path: Path) -> None:
    ended = run(tmp_path, "--version")
    assert (ended.returncode, ended.stdout) == (0, f"ai-sandbox {__version__}\n")


def test_help_names_every_verb_and_the_exit_codes(tmp_path: Path) -> None:
    ended = run(tmp_path, "--help")
    assert ended.returncode == 0
    for word in ("up", "serve", "ui", "download", "status", "check", "settings", "78"):
        assert word in ended.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_has_enough_gets_no_traceback(tmp_path: Path, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [str(COMMAND), "settings"],
        env={**os.environ, **environment(tmp_path), "PYTHONUNBUFFERED": unbuffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["serve", "--nonsense"]])
def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    ended = run(tmp_path, *arguments)
    assert ended.returncode == 2
    assert "usage: ai-sandbox" in ended.stderr


def test_right_settings_are_said_to_be_right(tmp_path: Path) -> None:
    ended = run(tmp_path, "check")
    assert ended.returncode == 0
    assert "right" in ended.stdout


def test_settings_tell_where_each_value_came_from(tmp_path: Path) -> None:
    file = tmp_path / "box.env"
    file.write_text("UI_PORT=13000\n")
    ended = run(tmp_path, "settings", "--json", "--env-file", str(file), API_PORT="18000")
    table = json.loads(ended.stdout)
    assert table["API_PORT"] == {"value": "18000", "from": "environment"}
    assert table["UI_PORT"] == {"value": "13000", "from": f"{file} line 1"}
    assert table["ACCESS"] == {"value": "open", "from": "default"}


def test_a_relative_folder_is_meant_from_where_the_command_stands(tmp_path: Path) -> None:
    ended = run(tmp_path, "settings", "--json", MODELS_DIR="here/models")
    assert json.loads(ended.stdout)["MODELS_DIR"]["value"] == str(Path.cwd() / "here/models")


def test_status_without_a_service_says_so(tmp_path: Path) -> None:
    ended = run(tmp_path, "status", API_PORT=str(free_port()))
    assert ended.returncode == 1
    assert "No AI Sandbox answers" in ended.stdout


def test_status_of_a_ready_service_is_0(tmp_path: Path, api: ApiService) -> None:
    port = api.url.rpartition(":")[2]
    ended = run(tmp_path, "status", API_PORT=port)
    assert ended.returncode == 0
    assert f"{GUIDE} is ready." in ended.stdout
    whole = run(tmp_path, "status", "--json", API_PORT=port)
    assert json.loads(whole.stdout)["state"] == "ready"
