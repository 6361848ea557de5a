"""Under load, tokens of a stream are sent several at a time: fewer, larger writes.

vLLM can hold a stream's tokens until there are ``stream_interval`` of them; the first one never
waits. It fixes the number for all streams, or by a request's own wish. Here it follows how many
streams run, because what a write costs is the same for one token as for eight, and nobody reads
faster than the pieces come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

# From so many streams on, tokens are sent so many at a time.
_STEPS = ((384, 8), (128, 4), (96, 2))
# A stream moves at least four times a second, as long as its tokens come that fast.
_LONGEST_SECONDS = 0.25
_POLL_SECONDS = 0.25
# So many streams tell how fast tokens come.
_SAMPLE = 8


def interval(streams: int, seconds_per_token: float) -> int:
    """How many tokens are sent at a time when so many streams run."""
    by_load = next((tokens for least, tokens in _STEPS if streams >= least), 1)
    if seconds_per_token <= 0:
        return by_load
    return max(1, min(by_load, int(_LONGEST_SECONDS / seconds_per_token)))


class Pacer:
    """Keeps the streams of one engine at the interval of the moment."""

    def __init__(self, processor: Any, streaming: Any) -> None:
        """``processor`` is vLLM's OutputProcessor, ``streaming`` its kind of streamed outputs."""
        self._processor = processor
        self._kind = streaming
        # The streams that were touched, by id: others asked for an interval of their own.
        self._ours: dict[str, int] = {}
        # When tokens were counted last, and how many some streams had then.
        self._then = time.monotonic()
        self._had: dict[str, int] = {}
        self._seconds_per_token = 0.0

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            self.adjust()

    def adjust(self) -> None:
        """Set the interval for the streams that run now."""
        states = self._processor.request_states
        running = [s for s in states.values() if s.output_kind == self._kind and s.detokenizer]
        self._measure(running)
        tokens = interval(len(running), self._seconds_per_token)
        for state in running:
            _set(state, tokens, self._ours)
        self._ours = {name: kept for name, kept in self._ours.items() if name in states}

    def _measure(self, running: Iterable[Any]) -> None:
        now = time.monotonic()
        have = {s.request_id: s.detokenizer.num_output_tokens() for s in running}
        more = sorted(count - self._had[name] for name, count in have.items() if name in self._had)
        if more and more[len(more) // 2]:
            self._seconds_per_token = (now - self._then) / more[len(more) // 2]
        self._then = now
        self._had = dict(list(have.items())[:_SAMPLE])


def _set(state: Any, tokens: int, ours: dict[str, int]) -> None:
    now = state.stream_interval
    if now != ours.get(state.request_id, 1) or now == tokens:
        return
    if now == 1:
        # vLLM counts what it has sent only while there is an interval.
        state.sent_tokens_offset = state.detokenizer.num_output_tokens()
    # Not back to 1: what is held then would not be counted.
    state.stream_interval = ours[state.request_id] = max(2, tokens)
