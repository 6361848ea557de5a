"""Well-known models as candidates, without asking anybody: their configs and sizes are data."""

from __future__ import annotations

from sandbox.models.plan import facts, shape
from sandbox.models.plan.examine import Candidate
from sandbox.models.plan.weights import Weights


def candidate_of(name: str) -> Candidate:
    """The well-known model ``name``. Raises ``KeyError`` for another."""
    entry = facts.well_known()[name]
    return Candidate(name, shape.read(entry["config"]), Weights(**entry["weights"]))


def relatives(one: Candidate, other: Candidate) -> bool:
    """True for models of one maker and kind, such as Qwen3-8B and Qwen3-32B."""
    return one.shape.model_type == other.shape.model_type or _stem(one.model) == _stem(other.model)


def _stem(name: str) -> str:
    """``Qwen/Qwen3-8B`` is of ``qwen/qwen3``."""
    return name.partition(" ")[0].lower().partition("-")[0]
