"""The plan's numbers are the engine's: weights, KV cache, context, for models of many kinds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.models.guide import guide_folder
from sandbox.models.plan import facts
from sandbox.models.plan.examine import Candidate, examine_folder
from sandbox.models.plan.known import candidate_of
from sandbox.models.plan.kv import KvCache
from tests.process.api_service import ROOT, serving
from tests.process.tiny_models import TEXT_MODELS, make_text_model

# Of the KV cache that is planned: little, so that the longest context has to be searched for, and
# for the models of real size.
MEMORY = 6 * 2**20
_LARGE_MEMORY = 2**36
# Kinds that vLLM's build for CPUs cannot even set up are counted as what they were made from.
NOT_ON_A_CPU = {"mxfp4", "fp8"}


def ask_engine(folders: list[Path], memory: int) -> list[dict[str, Any]]:
    """What vLLM makes of the models in ``folders``, in one process for all."""
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.process.engine_view",
            str(memory),
            *map(str, folders),
        ],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
    )
    lines = [line for line in ended.stdout.splitlines() if line.startswith("VIEW ")]
    assert len(lines) == len(folders), ended.stderr[-4000:]
    return [json.loads(line.removeprefix("VIEW ")) for line in lines]


def compare(candidate: Candidate, engine: dict[str, Any]) -> None:
    cache = KvCache(candidate.shape, tensor_parallel=1, block=engine["block"], in_flight=2048)
    assert candidate.weights.bytes == pytest.approx(engine["weight_bytes"], rel=0.02)
    assert cache.bytes_per_token == engine["kv_bytes_per_token"]
    context = cache.longest(MEMORY)
    assert context == engine["context_length"]
    assert cache.concurrency(MEMORY, context) == pytest.approx(engine["concurrency"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Each of TEXT_MODELS on disk, with what vLLM makes of it."""
    root = tmp_path_factory.mktemp("tiny")
    folders = [root / name.replace(" ", "-") for name in TEXT_MODELS]
    for folder, name in zip(folders, TEXT_MODELS, strict=True):
        make_text_model(folder, name, guide_folder())
    views = ask_engine(folders, MEMORY)
    return dict(zip(TEXT_MODELS, zip(folders, views, strict=True), strict=True))


@pytest.mark.parametrize("name", list(TEXT_MODELS))
def test_a_tiny_model_is_as_large_as_the_engine_says(
    tiny: dict[str, tuple[Path, dict[str, Any]]], name: str
) -> None:
    folder, engine = tiny[name]
    compare(examine_folder(name, folder), engine)


@pytest.mark.long
def test_well_known_models_are_as_large_as_the_engine_says(tmp_path: Path) -> None:
    plain = {
        name: entry["config"]
        for name, entry in facts.well_known().items()
        # Needs a package for images that the tests do not have.
        if "vision_config" not in entry["config"]
        and (entry["config"].get("quantization_config") or {}).get("quant_method")
        not in NOT_ON_A_CPU
    }
    folders = []
    for name, config in plain.items():
        folder = tmp_path / name.replace("/", "--")
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        folders.append(folder)
    for name, engine in zip(plain, ask_engine(folders, _LARGE_MEMORY), strict=True):
        candidate = candidate_of(name)
        assert candidate.weights.bytes == pytest.approx(engine["weight_bytes"], rel=0.02), name
        cache = KvCache(candidate.shape, tensor_parallel=1, block=engine["block"], in_flight=2048)
        assert cache.bytes_per_token == engine["kv_bytes_per_token"], name


def test_the_launcher_serves_as_planned(tmp_path: Path) -> None:
    name = "every second layer slides"
    folder = tmp_path / "model"
    make_text_model(folder, name, guide_folder())
    # As the files have it, on every processor.
    chosen = {"MODEL_ID": str(folder), "SERVED_MODEL_NAME": "tiny"}
    with serving(tmp_path, **chosen, VLLM_EXTRA_ARGS="--dtype bfloat16") as service:
        status = service.wait_for("ready")
        assert status["state"] == "ready", service.tell()
    details = status["details"]
    found = examine_folder(name, folder)
    assert details["weight_bytes"] == found.weights.bytes
    assert details["context_length"] == found.shape.context
    assert "whole context" in " ".join(details["reasons"])
    assert details["kv_cache_tokens"] > found.shape.context


def test_a_context_that_the_engine_finds_too_long_is_shortened(tmp_path: Path) -> None:
    # Five blocks of 128 tokens, of which one is vLLM's own.
    flags = f"--dtype bfloat16 --kv-cache-memory-bytes {5 * 128 * 3072}"
    with serving(tmp_path, VLLM_EXTRA_ARGS=flags) as service:
        status = service.wait_for("ready")
        assert status["state"] == "ready", service.tell()
        assert status["details"]["context_length"] == 512
        assert "vLLM measured that 512 tokens fit" in " ".join(status["details"]["reasons"])
        assert status["restarts"] == 0
