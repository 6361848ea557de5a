"""How vLLM is imported: without full collections, and once."""

from __future__ import annotations

import gc

import pytest

from sandbox.engine.loading import keeping_imports


def test_the_collector_is_as_before_after_a_failed_import() -> None:
    before = gc.get_threshold()
    with pytest.raises(ImportError), keeping_imports():
        raise ImportError
    assert gc.get_threshold() == before


def test_what_was_imported_is_not_walked_again() -> None:
    try:
        with keeping_imports():
            kept = [object]
        assert not any(found is kept for found in gc.get_objects())
    finally:
        gc.unfreeze()


def test_young_garbage_is_collected_meanwhile() -> None:
    class Garbage:
        def __init__(self) -> None:
            self.itself = self

    try:
        with keeping_imports():
            for _ in range(100_000):
                Garbage()
            left = sum(type(found) is Garbage for found in gc.get_objects())
        assert left < 50_000
    finally:
        gc.unfreeze()
