"""Reading what vLLM counts out of a Prometheus registry."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sandbox.api.metrics import Reading, quantile, read

LABELS = {"model_name": "m", "engine": "0"}


def engine(registry: CollectorRegistry) -> tuple[Counter, Gauge, Histogram]:
    """Some of the metrics that vLLM registers, under its names."""
    names = list(LABELS)
    return (
        Counter("vllm:generation_tokens", "", names, registry=registry),
        Gauge("vllm:kv_cache_usage_perc", "", names, registry=registry),
        Histogram(
            "vllm:time_to_first_token_seconds", "", names, buckets=(0.1, 0.2), registry=registry
        ),
    )


def test_nothing_is_read_while_no_engine_counts() -> None:
    registry = CollectorRegistry()
    Counter("http_requests", "", registry=registry).inc()
    assert read(registry) is None


def test_the_numbers_are_read() -> None:
    registry = CollectorRegistry()
    tokens, cache, first = engine(registry)
    tokens.labels(**LABELS).inc(43)
    cache.labels(**LABELS).set(0.25)
    first.labels(**LABELS).observe(0.15)
    assert read(registry) == Reading(
        generated_tokens=43, kv_cache=0.25, first_token={0.1: 0, 0.2: 1, math.inf: 1}
    )


def test_several_engines_are_added_up_and_the_fullest_cache_counts() -> None:
    registry = CollectorRegistry()
    tokens, cache, first = engine(registry)
    for number, name in enumerate(("0", "1"), start=1):
        labels = LABELS | {"engine": name}
        tokens.labels(**labels).inc(10 * number)
        cache.labels(**labels).set(number / 10)
        first.labels(**labels).observe(0.05)
    reading = read(registry)
    assert reading
    assert (reading.generated_tokens, reading.kv_cache) == (30, 0.2)
    assert reading.first_token == {0.1: 2, 0.2: 2, math.inf: 2}


def test_what_was_counted_between_two_readings() -> None:
    before = Reading(100, 10, 1, first_token={0.1: 1, math.inf: 2})
    now = Reading(150, 30, 3, first_token={0.1: 4, math.inf: 6})
    assert now.since(before) == Reading(50, 20, 3, first_token={0.1: 3, math.inf: 4})


def test_an_engine_that_started_again_counts_from_zero() -> None:
    before = Reading(100, 50, first_token={math.inf: 5})
    now = Reading(30, 60, first_token={math.inf: 2})
    assert now.since(before) == now


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.0, 0.0), (0.25, 0.05), (0.5, 0.1), (0.75, 0.2), (1.0, 0.3)]
)
def test_a_quantile_is_interpolated_within_its_bucket(share: float, seconds: float) -> None:
    buckets = {0.1: 2.0, 0.3: 4.0, math.inf: 4.0}
    assert quantile(buckets, share) == pytest.approx(seconds)


def test_beyond_the_last_bound_the_bound_is_given() -> None:
    assert quantile({0.1: 0.0, math.inf: 3.0}, 0.5) == 0.1


@pytest.mark.parametrize("buckets", [{}, {0.1: 0.0, math.inf: 0.0}])
def test_without_requests_there_is_no_quantile(buckets: dict[float, float]) -> None:
    assert quantile(buckets, 0.5) is None
