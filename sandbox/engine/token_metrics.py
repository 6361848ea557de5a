"""The times between tokens in /metrics, counted once for all streams of a step."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Any

from prometheus_client import Histogram


def observe(histogram: Histogram, values: Iterable[float]) -> None:
    """``histogram.observe`` for each of ``values``, of which many are the same."""
    for value, times in Counter(values).items():
        histogram._sum.inc(value * times)
        histogram._buckets[bisect_left(histogram._upper_bounds, value)].inc(times)


def by_steps(logger: type[Any]) -> type[Any]:
    """``logger``, vLLM's PrometheusStatLogger, with what it counts for each token put together."""

    class ByStepsStatLogger(logger):  # type: ignore[misc]
        def record(
            self, scheduler: Any, step: Any, *rest: Any, engine_idx: int = 0, **more: Any
        ) -> None:
            times = step.inter_token_latencies_iter if step else []
            if times:
                observe(self.histogram_inter_token_latency[engine_idx], times)
                step.inter_token_latencies_iter = []
            super().record(scheduler, step, *rest, engine_idx=engine_idx, **more)
            if times:
                # Others may look at them, too.
                step.inter_token_latencies_iter = times

    return ByStepsStatLogger
