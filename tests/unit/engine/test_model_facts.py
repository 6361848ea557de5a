"""What planning knows of vLLM and of well-known models is what these say themselves."""

from __future__ import annotations

import json
import logging
import warnings

import pytest

from sandbox.models.plan import facts

with warnings.catch_warnings():
    # torch, transformers and vllm warn about themselves when they are imported.
    warnings.simplefilter("ignore")
    from sandbox.engine import known_models, model_facts, vllm_api

assert vllm_api


def test_the_facts_of_the_engine_are_of_the_locked_versions() -> None:
    written = json.loads(facts.ENGINE_FILE.read_text(encoding="utf-8"))
    assert written["made_from"] == model_facts.locked_versions(), "run make reference"


@pytest.mark.long
def test_the_facts_of_the_engine_are_up_to_date(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    written = facts.ENGINE_FILE.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert written == model_facts.text(), "run make reference"


def test_the_sizes_of_well_known_models_are_up_to_date() -> None:
    written = known_models.FILE.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert written == known_models.text(), "run make reference"


def test_there_are_models_of_every_kind() -> None:
    known = facts.well_known()
    assert len(known) >= 16
    assert {"awq", "fp8", "mxfp4"} <= {
        (entry["config"].get("quantization_config") or {}).get("quant_method")
        for entry in known.values()
    }
