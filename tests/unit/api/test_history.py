"""The samples of the last hour: rates, gaps, restarts and what is kept."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from sandbox.api.history import INTERVAL_SECONDS, WINDOW_SECONDS, History
from sandbox.api.metrics import Reading
from sandbox.engine.lifecycle import Lifecycle, State
from sandbox.host.gpu import GpuUse


class Box:
    """A history with a clock and a lifecycle in the hands of the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lifecycle = Lifecycle("m")
        self.history = History(self.lifecycle, clock=lambda: self.now)
        self.enter(State.READY)

    def enter(self, state: State) -> None:
        asyncio.run(self.lifecycle.set(state, ""))

    def sample(self, *readings: Reading | None, gpu: GpuUse | None = None) -> None:
        self.now += INTERVAL_SECONDS
        self.history.add(list(readings), INTERVAL_SECONDS, gpu)

    def column(self, name: str) -> list[Any]:
        values: list[Any] = self.history.as_json()["samples"][name]
        return values


@pytest.fixture
def box() -> Box:
    return Box()


def counted(tokens: float, requests: float = 0, **more: float) -> Reading:
    return Reading(tokens, first_token={0.1: requests, math.inf: requests}, **more)


def test_tokens_become_a_rate(box: Box) -> None:
    box.sample(counted(50))
    box.sample(counted(50))
    box.sample(counted(150))
    assert box.column("generated_tokens_per_second") == [10, 0, 20]


def test_an_engine_that_started_again_makes_no_negative_rate(box: Box) -> None:
    box.sample(counted(500))
    box.enter(State.LOADING)
    # The numbers of the dead engine are still there.
    box.sample(counted(500, running=3))
    box.enter(State.READY)
    box.sample(counted(600))
    assert box.column("generated_tokens_per_second") == [100, None, 120]
    assert box.column("requests_running") == [0, None, 0]


def test_a_restart_within_one_interval_makes_no_negative_rate(box: Box) -> None:
    box.sample(counted(500))
    box.sample(counted(20))
    assert box.column("generated_tokens_per_second") == [100, 4]


def test_before_a_model_is_served_nothing_is_known_of_it(box: Box) -> None:
    box.enter(State.LOADING)
    box.sample(None)
    assert box.column("time") == [box.now]
    assert box.column("requests_running") == [None]


def test_the_most_requests_at_one_time_count(box: Box) -> None:
    box.sample(counted(0, running=1, waiting=2, kv_cache=0.5), counted(0, running=3))
    assert box.column("requests_running") == [3]
    assert box.column("requests_waiting") == [2]
    assert box.column("kv_cache_percent") == [50]


def test_time_to_first_token_is_that_of_the_last_minute(box: Box) -> None:
    box.sample(counted(1, requests=10))
    for _ in range(12):
        box.sample(counted(1, requests=10))
    assert box.column("first_token_p50_seconds") == [0.05] * 12 + [None]
    assert box.column("first_token_p95_seconds") == [0.095] * 12 + [None]


def test_an_hour_is_kept(box: Box) -> None:
    for _ in range(WINDOW_SECONDS // INTERVAL_SECONDS + 10):
        box.sample(counted(0))
    times = box.column("time")
    assert times[-1] == box.now
    assert times[0] == box.now - WINDOW_SECONDS + INTERVAL_SECONDS


def test_only_newer_samples_are_given(box: Box) -> None:
    box.sample(counted(0))
    seen = box.now
    box.sample(counted(5))
    newer = box.history.as_json(since=seen)["samples"]
    assert newer["time"] == [box.now]
    assert newer["generated_tokens_per_second"] == [1]
    assert box.history.as_json(since=box.now)["samples"]["time"] == []


def test_times_go_up_when_the_clock_is_set_back(box: Box) -> None:
    box.sample(counted(0))
    box.sample(counted(0))
    box.now -= INTERVAL_SECONDS + 2
    box.sample(counted(0))
    assert box.column("time") == [1005, 1008]


def test_a_gpu_is_shown_also_while_no_model_is_served(box: Box) -> None:
    box.enter(State.LOADING)
    box.sample(None, gpu=GpuUse(2, 30, 40, 75.5, None))
    assert box.history.as_json()["gpu"] == {"count": 2, "memory_total_bytes": 40}
    assert box.column("gpu_memory_bytes") == [30]
    assert box.column("gpu_utilization_percent") == [75.5]
    assert box.column("gpu_temperature_celsius") == [None]


def test_without_a_gpu_that_is_said(box: Box) -> None:
    box.sample(counted(0))
    assert box.history.as_json()["gpu"] is None
    assert box.column("gpu_memory_bytes") == [None]
