"""What is set wrong is said in a sentence before the start, with exit 78.

What is wrong with a model is another matter: test_bad_models.py.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.process.api_service import run


def test_an_unknown_key_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "box.env"
    file.write_text("MODLE_ID=gpt2\n")
    ended = run(tmp_path, "check", "--env-file", str(file))
    assert ended.returncode == 78
    assert "MODLE_ID" in ended.stderr
    assert "Did you mean MODEL_ID?" in ended.stderr


def test_a_port_that_is_no_number_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, "serve", API_PORT="eighty")
    assert ended.returncode == 78
    assert "API_PORT is 'eighty' (environment)" in ended.stderr
    assert "from 1 to 65535" in ended.stderr


def test_a_missing_env_file_given_by_name_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, "serve", "--env-file", str(tmp_path / "none.env"))
    assert ended.returncode == 78
    assert "does not exist" in ended.stderr


def test_an_unreadable_env_file_is_refused(tmp_path: Path) -> None:
    # A folder: root can read every file, but no one can read a folder as a file.
    ended = run(tmp_path, "serve", "--env-file", str(tmp_path))
    assert ended.returncode == 78
    assert "cannot be read" in ended.stderr


def test_a_flag_that_the_launcher_owns_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, "serve", VLLM_EXTRA_ARGS="--port 9000")
    assert ended.returncode == 78
    assert "set API_PORT instead" in ended.stderr


def test_a_port_in_use_names_the_process(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ended = run(tmp_path, "serve", API_PORT=str(port), MODEL_ID="builtin:guide")
    assert ended.returncode == 1
    assert f"Port {port} is in use by PID {os.getpid()}" in ended.stderr


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    ended = run(tmp_path, "check", API_KEY="short")
    assert ended.returncode == 78
    assert "short" not in ended.stderr.replace("shorter", "")
    listed = run(tmp_path, "settings", API_KEY="a-long-enough-key", HF_TOKEN="hf_secret_token")
    assert "a-long-enough-key" not in listed.stdout
    assert "hf_secret_token" not in listed.stdout
