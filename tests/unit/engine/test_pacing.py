"""How many tokens are sent at a time, and that none is lost or counted twice by a change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.engine.pacing import Pacer, interval


class Stream(SimpleNamespace):
    """A stream of vLLM's output processor."""

    def __init__(self, name: str, tokens: int, wish: int = 1, kind: str = "delta") -> None:
        super().__init__(request_id=name, output_kind=kind, stream_interval=wish)
        self.sent_tokens_offset = 0
        self.detokenizer = SimpleNamespace(num_output_tokens=lambda: tokens)


def paced(*streams: Stream, crowd: int = 0) -> Pacer:
    states: dict[str, Any] = {s.request_id: s for s in streams}
    states |= {f"other {n}": Stream(f"other {n}", 3) for n in range(crowd)}
    pacer = Pacer(SimpleNamespace(request_states=states), "delta")
    pacer.adjust()
    return pacer


@pytest.mark.parametrize(
    ("streams", "seconds", "expected"),
    [(1, 0.01, 1), (95, 0.01, 1), (96, 0.01, 2), (200, 0.01, 4), (500, 0.01, 8)],
)
def test_more_streams_send_more_tokens_at_a_time(
    streams: int, seconds: float, expected: int
) -> None:
    assert interval(streams, seconds) == expected


def test_a_slow_model_is_not_made_to_look_slower() -> None:
    assert interval(500, 0.1) == 2
    assert interval(500, 0.3) == 1


def test_what_was_sent_before_is_not_sent_again() -> None:
    stream = Stream("a", tokens=5)
    paced(stream, crowd=100)
    assert (stream.stream_interval, stream.sent_tokens_offset) == (2, 5)


def test_tokens_that_are_held_are_not_lost_when_the_crowd_goes() -> None:
    stream = Stream("a", tokens=5)
    pacer = paced(stream, crowd=200)
    for name in [n for n in pacer._processor.request_states if n != "a"]:
        del pacer._processor.request_states[name]
    pacer.adjust()
    assert (stream.stream_interval, stream.sent_tokens_offset) == (2, 5)


def test_a_wish_of_the_request_is_kept() -> None:
    stream = Stream("a", tokens=5, wish=3)
    paced(stream, crowd=200)
    assert stream.stream_interval == 3


def test_what_is_not_streamed_is_left_alone() -> None:
    whole = Stream("a", tokens=5, kind="final")
    paced(whole, crowd=200)
    assert whole.stream_interval == 1
