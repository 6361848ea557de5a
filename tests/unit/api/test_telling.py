"""What systemd shows of the service in one line."""

from __future__ import annotations

from sandbox.api.telling import one_line
from sandbox.engine.lifecycle import Preparation, Progress, State, Status


def test_the_percent_of_a_download_comes_first() -> None:
    status = Status(State.DOWNLOADING, 0.0, "a", "a is downloading.", progress=Progress(43, 100))
    assert one_line(status) == "downloading 43%: a is downloading."


def test_the_rate_of_a_download_is_told() -> None:
    progress = Progress(43_000_000, 100_000_000, 58_200_000.0)
    status = Status(State.DOWNLOADING, 0.0, "a", "a is downloading.", progress=progress)
    assert one_line(status) == "downloading 43% at 58.2 MB/s: a is downloading."


def test_the_next_model_and_the_notice_follow() -> None:
    coming = Preparation(State.DOWNLOADING, "b", "b is downloading.", progress=Progress(1, 2))
    status = Status(State.READY, 0.0, "a", "a is ready.", next=coming, notice="Noted.")
    assert one_line(status) == "a is ready. Next: downloading 50%: b is downloading. Noted."


def test_a_failed_next_model_is_named() -> None:
    failed = Preparation(State.FAILED, "b", "b is gated.")
    status = Status(State.READY, 0.0, "a", "a is ready.", next=failed)
    assert one_line(status) == "a is ready. Next: b failed: b is gated."
