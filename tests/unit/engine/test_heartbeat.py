"""When silence is taken for a hang."""

from __future__ import annotations

from sandbox.engine.heartbeat import SILENT_SECONDS, Silence


def silence(seconds: int, computed: float) -> Silence:
    """One of so many seconds, in each of which the engine computed for ``computed`` seconds."""
    found = Silence(busy_seconds=120)
    for _ in range(seconds):
        found.add(1, computed)
    return found


def test_an_engine_that_computes_nothing_hangs_within_a_minute() -> None:
    assert not silence(39, 0.03).hung
    assert silence(40, 0.03).hung


def test_an_engine_that_computes_has_more_time() -> None:
    assert silence(40, 1.0).stalled
    assert not silence(119, 1.0).hung
    assert silence(120, 1.0).hung


def test_the_silence_after_work_counts_from_the_end_of_the_work() -> None:
    found = silence(60, 1.0)
    found.add(1, 0)
    assert not found.hung
    for _ in range(39):
        found.add(1, 0)
    assert found.hung


def test_a_pause_of_the_launcher_itself_is_no_silence_of_the_engine() -> None:
    found = silence(0, 0)
    found.add(10 * SILENT_SECONDS, 0)
    assert not found.hung
