"""What is set wrong is said in a sentence: before the start with exit 78, after it as `failed`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sandbox.models.guide import guide_folder
from tests.process.api_service import run, serving


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


def without_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return "has no config.json"


def with_cut_weights(folder: Path) -> str:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    return "is broken"


def with_weights_that_are_none(folder: Path) -> str:
    (folder / "model.safetensors").write_bytes(b"not a model")
    return "header is broken"


def without_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return "no .safetensors file"


def with_unknown_architecture(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["NobodyForCausalLM"]
    config["model_type"] = "nobody"
    (folder / "config.json").write_text(json.dumps(config))
    return "could not be loaded"


def with_tensors_of_another_shape(folder: Path) -> str:
    header = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    return "could not be loaded"


@pytest.mark.parametrize(
    "breaking",
    [
        without_config,
        with_cut_weights,
        with_weights_that_are_none,
        without_weights,
        with_unknown_architecture,
        with_tensors_of_another_shape,
    ],
)
def test_a_model_that_cannot_load_is_failed_and_explained(
    tmp_path: Path, breaking: Callable[[Path], str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(guide_folder(), folder)
    sentence = breaking(folder)
    with serving(tmp_path, MODEL_ID=str(folder)) as service:
        status = service.wait_for("failed")
        assert sentence in status["message"], service.tell()
        assert status["hint"]
        assert "Traceback" not in status["message"]
        refused = httpx.post(
            f"{service.url}/v1/chat/completions", json={"model": "x", "messages": []}
        )
        assert refused.status_code == 503
        assert sentence in refused.json()["error"]["message"]
        assert httpx.get(f"{service.url}/livez").status_code == 200


@pytest.mark.parametrize(
    ("model_id", "sentence"),
    [
        ("/nowhere/at/all", "does not exist"),
        ("builtin:other", "no built-in model"),
        ("just-a-word", "neither a folder nor a Hugging Face id"),
    ],
)
def test_a_model_id_that_means_nothing_is_failed(
    tmp_path: Path, model_id: str, sentence: str
) -> None:
    with serving(tmp_path, MODEL_ID=model_id) as service:
        assert sentence in service.wait_for("failed")["message"]


def test_an_unknown_vllm_flag_is_failed_and_named(tmp_path: Path) -> None:
    with serving(tmp_path, VLLM_EXTRA_ARGS="--no-such-flag 3") as service:
        status = service.wait_for("failed")
        assert "--no-such-flag" in status["message"], service.tell()
        assert "VLLM_EXTRA_ARGS" in status["hint"]
