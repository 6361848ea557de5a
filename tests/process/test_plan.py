"""`ai-sandbox plan` as a program, against a stand-in for the hub: nothing is downloaded."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.models.guide import guide_folder
from tests.process.api_service import COMMAND, GUIDE, run
from tests.process.hub_service import hub

MODEL = "owner/name"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """The address of a hub with MODEL, a copy of the guide."""
    shutil.copytree(guide_folder(), tmp_path / "hub" / MODEL)
    with hub(tmp_path) as service:
        yield service.url


def plan(folder: Path, *arguments: str, **settings: str) -> dict[str, Any]:
    ended = run(folder, "plan", *arguments, "--json", **settings)
    found: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if found["fits"] else 1), ended.stderr
    return found


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "hub" / MODEL / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("words", [("20GB x2",), ("20GB", "x2")])
def test_gpus_can_be_named_with_or_without_quotes_before_the_model_or_after(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    for arguments in ([GUIDE, "--gpu", *words], ["--gpu", *words, GUIDE]):
        found = plan(tmp_path, *arguments)
        assert (found["model"], found["gpus"]) == (GUIDE, 2)


def test_a_repository_is_planned_without_a_download(tmp_path: Path, endpoint: str) -> None:
    found = plan(tmp_path, MODEL, "--gpu", "20GB x2", HF_ENDPOINT=endpoint)
    assert found["fits"]
    assert found["parameters"] == found["weight_bytes"] // 2
    assert found["kv_bytes_per_token"] == 3 * 2 * 4 * 64 * 2
    assert found["context_length"] == 1024
    assert found["download_bytes"] == (guide_folder() / "model.safetensors").stat().st_size
    assert not (tmp_path / "models").exists()


def test_the_table_says_the_same_in_words(tmp_path: Path, endpoint: str) -> None:
    ended = run(tmp_path, "plan", MODEL, "--plan", "g2-gpu-rtx4000a1-s", HF_ENDPOINT=endpoint)
    assert ended.returncode == 0, ended.stderr
    for words in ("LlamaForCausalLM", "3.0 KiB a token", "1,024 of 1,024 tokens", "5.6 MB"):
        assert words in ended.stdout


def test_without_a_name_the_setting_is_planned(tmp_path: Path) -> None:
    assert plan(tmp_path, MODEL_ID=GUIDE)["model"] == GUIDE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["XForCausalLM"]}, "XForCausalLM, which vLLM 0.32 does not know"),
        (
            {"model_type": "x", "auto_map": {"AutoConfig": "configuration_x.XConfig"}},
            "only with Python code of its repository",
        ),
        ({"num_hidden_layers": "many", "model_type": "x"}, "does not say how many layers"),
    ],
)
def test_what_no_machine_would_change_is_said(
    tmp_path: Path, endpoint: str, changes: dict[str, object], words: str
) -> None:
    change_config(tmp_path, **changes)
    found = plan(tmp_path, MODEL, HF_ENDPOINT=endpoint)
    assert not found["fits"]
    assert words in found["reasons"][0]
    assert MODEL in found["reasons"][0]
    assert found["advice"]


@pytest.mark.parametrize(
    ("file", "words"),
    [("model.Q4.gguf", "only as GGUF"), ("pytorch_model.bin", "no .safetensors")],
)
def test_weights_that_vllm_does_not_load_are_named(
    tmp_path: Path, endpoint: str, file: str, words: str
) -> None:
    folder = tmp_path / "hub" / MODEL
    (folder / "model.safetensors").rename(folder / file)
    assert words in plan(tmp_path, MODEL, HF_ENDPOINT=endpoint)["reasons"][0]


def test_a_gated_model_says_what_to_do(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "hub" / MODEL / ".gated").touch()
    ended = run(tmp_path, "plan", MODEL, HF_ENDPOINT=endpoint)
    assert ended.returncode == 1
    assert "is gated" in ended.stderr
    assert "HF_TOKEN" in ended.stderr


def test_an_unknown_id_is_named(tmp_path: Path, endpoint: str) -> None:
    ended = run(tmp_path, "plan", "owner/other", HF_ENDPOINT=endpoint)
    assert ended.returncode == 1
    assert "owner/other was not found" in ended.stderr


def test_a_hub_that_does_not_answer_is_said(tmp_path: Path) -> None:
    ended = run(tmp_path, "plan", MODEL, HF_ENDPOINT="http://127.0.0.1:1")
    assert ended.returncode == 1
    assert "could not be looked up" in ended.stderr


def test_planning_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from sandbox import cli; cli.main(['plan', 'builtin:guide', '--json']);"
        "sys.exit(str({'torch', 'vllm', 'transformers'} & set(sys.modules) or ''))"
    )
    python = COMMAND.parent / "python"
    ended = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ended.stderr.strip() == ""
