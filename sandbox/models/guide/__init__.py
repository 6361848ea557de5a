"""The built-in model: a tiny Llama that knows the FAQ page by heart and needs no network or GPU."""

from __future__ import annotations

from pathlib import Path

GUIDE_ID = "builtin:guide"


def guide_folder() -> Path:
    """The folder with the guide's config, weights and tokenizer, as vLLM loads it."""
    return Path(__file__).parent / "weights"
