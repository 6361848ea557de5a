"""What is counted together is what vLLM counts one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Histogram

from sandbox.engine.token_metrics import by_steps, observe

BOUNDS = [0.01, 0.1, 1.0]


def samples(histogram: Histogram) -> dict[Any, float]:
    (metric,) = histogram.collect()
    return {(s.name, *s.labels.items()): s.value for s in metric.samples if "created" not in s.name}


@pytest.mark.parametrize(
    "values",
    [[], [0.05], [0.05, 0.05, 0.05], [0.01, 0.1, 1.0], [-1.0, 0.0, 0.0], [7.0, 0.5, 7.0]],
    ids=["none", "one", "the same", "the bounds", "below", "above"],
)
def test_values_are_counted_as_one_by_one(values: list[float]) -> None:
    ours, theirs = (
        Histogram("t", "t", buckets=BOUNDS, registry=CollectorRegistry()) for _ in range(2)
    )
    observe(ours, values)
    for value in values:
        theirs.observe(value)
    assert samples(ours) == pytest.approx(samples(theirs))


class Logger:
    """vLLM's, as far as it counts tokens."""

    def __init__(self) -> None:
        own = Histogram("t", "t", buckets=BOUNDS, registry=CollectorRegistry())
        self.histogram_inter_token_latency = {0: own}
        self.recorded: list[Any] = []

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        times = [*iteration_stats.inter_token_latencies_iter] if iteration_stats else None
        self.recorded.append((scheduler_stats, times, mm_cache_stats, engine_idx))


def test_all_else_of_a_step_is_left_to_vllm() -> None:
    logger = by_steps(Logger)()
    step = SimpleNamespace(inter_token_latencies_iter=[0.5, 0.5])
    logger.record("scheduler", step, mm_cache_stats="images", engine_idx=0)
    logger.record("scheduler", None, mm_cache_stats="images", engine_idx=0)
    assert logger.recorded == [
        ("scheduler", [], "images", 0),
        ("scheduler", None, "images", 0),
    ]
    assert samples(logger.histogram_inter_token_latency[0])[("t_count",)] == 2
    # For whoever looks next.
    assert step.inter_token_latencies_iter == [0.5, 0.5]
