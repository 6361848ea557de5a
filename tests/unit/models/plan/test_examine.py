"""What is read of a folder, and what is wrong with it said in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.models.guide import guide_folder
from sandbox.models.plan.examine import examine_folder, weight_files


def test_the_guide_has_the_size_of_its_file() -> None:
    found = examine_folder("builtin:guide", guide_folder(), builtin=True)
    file = (guide_folder() / "model.safetensors").stat().st_size
    assert found.weights.bytes == pytest.approx(file, rel=0.02)


def test_weights_that_are_there_twice_count_once() -> None:
    names = ["consolidated.safetensors", "model-1.safetensors", "sub/model.safetensors"]
    assert weight_files("m", names, None) == ["model-1.safetensors"]


def test_files_that_the_index_does_not_name_are_left_out() -> None:
    index = {"weight_map": {"w": "model-1.safetensors"}}
    names = ["model-1.safetensors", "adapter.safetensors"]
    assert weight_files("m", names, index) == ["model-1.safetensors"]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["m.Q4_K_M.gguf", "config.json"], "only as GGUF"),
        (["pytorch_model.bin", "config.json"], "only .bin files"),
        (["config.json"], "no .safetensors weights."),
    ],
)
def test_weights_in_other_formats_are_named(names: list[str], reason: str) -> None:
    with pytest.raises(SandboxError, match=reason):
        weight_files("owner/name", names, None)


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 64, b"\x03\0\0\0\0\0\0\0[1]"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SandboxError, match="header is broken"):
        examine_folder("m", tmp_path)
