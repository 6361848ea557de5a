"""What answers took, as figures: throughput, time to first token, inter-token latency."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sandbox.bench.load import Answer


@dataclass(frozen=True)
class Figures:
    """Seconds, unless a name says otherwise; of the answers without an error."""

    answers: int
    errors: int
    seconds: float
    tokens_per_second: float
    requests_per_second: float
    ttft_p50: float
    ttft_p99: float
    itl_p50: float
    itl_p99: float

    def as_json(self) -> dict[str, float]:
        """All of them by name."""
        return asdict(self)


def figures(answers: Sequence[Answer], tokens: int) -> Figures:
    """The figures of ``answers``, each of which has ``tokens`` tokens."""
    good = [answer for answer in answers if answer.good]
    seconds = max(a.ended for a in good) - min(a.asked for a in good) if good else math.nan
    first = sorted(a.first_text - a.asked for a in good if a.first_text is not None)
    gaps = sorted(itertools.chain.from_iterable(map(_gaps, good)))
    return Figures(
        answers=len(good),
        errors=len(answers) - len(good),
        seconds=seconds,
        tokens_per_second=len(good) * tokens / seconds,
        requests_per_second=len(good) / seconds,
        ttft_p50=quantile(first, 0.5),
        ttft_p99=quantile(first, 0.99),
        itl_p50=quantile(gaps, 0.5),
        itl_p99=quantile(gaps, 0.99),
    )


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value below which ``part`` of the ``ordered`` ones lie (nearest rank); NaN of none."""
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)]


def _gaps(answer: Answer) -> Iterable[float]:
    """The times between one event of a stream and the next; events that came together have none."""
    assert answer.first_text is not None or not answer.pieces
    before = answer.first_text or 0.0
    for when, events in answer.pieces:
        if events:
            yield when - before
            yield from itertools.repeat(0.0, events - 1)
            before = when
