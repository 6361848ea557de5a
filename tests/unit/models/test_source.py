"""MODEL_ID to a model, and what is wrong with a folder said in a sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.models.source import HubModel, LocalModel, check_safetensors, resolve


def write_safetensors(file: Path, tensor_bytes: int = 8) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(tensor_bytes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    write_safetensors(tmp_path / "model.safetensors")
    return tmp_path


def test_the_guide_is_built_in() -> None:
    found = resolve("builtin:guide")
    assert isinstance(found, LocalModel)
    assert found.builtin


def test_a_folder_is_a_local_model(folder: Path) -> None:
    assert resolve(str(folder)) == LocalModel(str(folder), folder, "llama")


def test_a_folder_in_mistrals_own_format_is_a_local_model(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "params.json").write_text('{"dim": 8}')
    assert resolve(str(folder)) == LocalModel(str(folder), folder, "mistral")


def test_an_id_is_a_repository_on_the_hub() -> None:
    assert resolve("Qwen/Qwen3-0.6B", "main") == HubModel("Qwen/Qwen3-0.6B", "main")


@pytest.mark.parametrize(
    "model_id",
    ["gpt2", "a/b/c", "owner/na me", "-a/b", "a/", "https://x/y", "a/b--c", "a/b..c", "a/b.git"],
)
def test_an_id_that_is_none_is_refused(model_id: str) -> None:
    with pytest.raises(SandboxError) as caught:
        resolve(model_id)
    assert repr(model_id) in caught.value.message
    assert caught.value.hint


def test_a_folder_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(SandboxError, match="does not exist"):
        resolve("~nobody-of-that-name/x")


def test_a_config_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(SandboxError, match="is not JSON"):
        resolve(str(folder))


@pytest.mark.parametrize("size", [0, 7, 9])
def test_weights_of_another_length_than_their_header_says_are_refused(
    folder: Path, size: int
) -> None:
    write_safetensors(folder / "model.safetensors", size)
    with pytest.raises(SandboxError, match="is broken"):
        resolve(str(folder))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"{x",
        struct.pack("<Q", 3) + b"[1]",
        struct.pack("<Q", 7) + b'{"a":1}',
        struct.pack("<Q", 26) + b'{"a":{"data_offsets":[0]}}',
    ],
)
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(SandboxError, match="header is broken"):
        check_safetensors(file)
