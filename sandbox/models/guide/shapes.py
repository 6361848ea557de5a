"""Random JSON, from which the guide learns to close what a client's schema makes it open."""

from __future__ import annotations

import json
import random
from typing import Any


def random_json(draw: random.Random, words: list[str]) -> str:
    """A small object, or a list of them as forced tool calls have it, with short values."""
    shape: Any = _object(draw, words, 2)
    if draw.random() < 0.35:
        key = draw.choice(("arguments", "parameters"))
        shape = {"name": draw.choice(words), key: _object(draw, words, 1)}
        if draw.random() < 0.5:
            shape = [shape]
    if draw.random() < 0.3:
        return json.dumps(shape, separators=(",", ":"))
    return json.dumps(shape)


def _object(draw: random.Random, words: list[str], depth: int) -> dict[str, Any]:
    keys = [draw.choice(words) for _ in range(draw.randint(1, 4))]
    return {key: _value(draw, words, depth) for key in keys}


def _value(draw: random.Random, words: list[str], depth: int) -> Any:
    kind = draw.random()
    if kind < 0.5:
        return " ".join(draw.choice(words) for _ in range(draw.choice((1, 1, 1, 2, 3))))
    if kind < 0.65:
        return draw.randint(0, 10 ** draw.randint(1, 3))
    if kind < 0.7:
        return round(draw.uniform(0, 100), 1)
    if kind < 0.8:
        return draw.choice((True, False, None))
    if kind < 0.9 or depth == 0:
        return [draw.choice(words) for _ in range(draw.randint(0, 3))]
    return _object(draw, words, depth - 1)
