"""Data of the plan: what vLLM knows, well-known models, GPU plans of Linode. Files in ``data/``."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
ENGINE_FILE = DATA / "engine.json"

# Keys of config.json whose defaults are worth knowing: a file may leave out what is the default.
KEYS = (
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "sliding_window",
    "use_sliding_window",
    "tie_word_embeddings",
    "kv_lora_rank",
    "qk_rope_head_dim",
)


@functools.cache
def _read(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def defaults(model_type: str) -> dict[str, Any]:
    """What Transformers assumes where config.json of ``model_type`` says nothing."""
    found: dict[str, Any] = _read(ENGINE_FILE.name)["defaults"].get(model_type, {})
    return found


def is_config_type(model_type: str) -> bool:
    """True when ``model_type`` is read without code from the model's repository."""
    return model_type in _read(ENGINE_FILE.name)["config_types"]


def knows(architecture: str) -> bool:
    """True when vLLM has this architecture, or makes it from its text generating sibling."""
    known = _read(ENGINE_FILE.name)["architectures"]
    stem = architecture.partition("For")[0].removesuffix("Model")
    siblings = (f"{stem}ForCausalLM", f"{stem}ForConditionalGeneration")
    return architecture in known or any(name in known for name in siblings)


def runs_through_transformers(architecture: str) -> bool:
    """True when vLLM falls back to Transformers' implementation of ``architecture``."""
    return architecture in _read(ENGINE_FILE.name)["transformers_architectures"]


def dropped_since(architecture: str) -> str | None:
    """The last vLLM that had ``architecture``, when this one no longer has it."""
    version: str | None = _read(ENGINE_FILE.name)["dropped_architectures"].get(architecture)
    return version


def well_known() -> dict[str, dict[str, Any]]:
    """Model id to its config.json (the keys that count) and its weights."""
    found: dict[str, dict[str, Any]] = _read("well_known.json")
    return found


def linode_plans() -> dict[str, dict[str, Any]]:
    """Plan's name to its GPUs, CPUs and memory; cheapest first."""
    found: dict[str, dict[str, Any]] = _read("linode_plans.json")["plans"]
    return found
