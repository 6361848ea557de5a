"""The last hour of the model and the GPU as numbers for the page, one sample every five seconds."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

from sandbox.api import metrics
from sandbox.api.metrics import Reading
from sandbox.engine.lifecycle import Lifecycle, State
from sandbox.host.gpu import GpuMeter, GpuUse

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5
WINDOW_SECONDS = 3600
# Time to first token is that of the last minute: few requests end within one interval.
_FIRST_TOKEN_SAMPLES = 12
_SERVING = (State.READY, State.DRAINING)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One moment; None where nothing is known, as for the model while none is served."""

    # Unix time.
    time: float
    generated_tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None
    # The most at one time within the interval.
    requests_running: float | None = None
    requests_waiting: float | None = None
    kv_cache_percent: float | None = None
    # Half, and 95 percent, of the requests of the last minute were faster; None without any.
    first_token_p50_seconds: float | None = None
    first_token_p95_seconds: float | None = None
    gpu_memory_bytes: int | None = None
    gpu_utilization_percent: float | None = None
    gpu_temperature_celsius: float | None = None


_COLUMNS = tuple(field.name for field in dataclasses.fields(Sample))


class History:
    """Collects samples while ``run`` runs; holds an hour of them."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        read: Callable[[], Reading | None] = metrics.read,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lifecycle = lifecycle
        self._read = read
        self._clock = clock
        self._samples: collections.deque[Sample] = collections.deque(
            maxlen=WINDOW_SECONDS // INTERVAL_SECONDS
        )
        self._before = Reading()
        self._restarts = 0
        self._first_token: collections.deque[dict[float, float]] = collections.deque(
            maxlen=_FIRST_TOKEN_SAMPLES
        )
        self._gpu: GpuUse | None = None

    async def run(self) -> None:
        """Sample until cancelled. A mistake in here ends the samples and nothing else."""
        try:
            meter = await asyncio.to_thread(GpuMeter)
            loop = asyncio.get_running_loop()
            last = loop.time()
            while True:
                readings = []
                # A short request runs between two samples: look more often for the most at once.
                for _ in range(INTERVAL_SECONDS):
                    await asyncio.sleep(1)
                    readings.append(self._read())
                gpu = await asyncio.to_thread(meter.read)
                now = loop.time()
                self.add(readings, now - last, gpu)
                last = now
        except Exception:
            log.exception("The page shows no newer numbers")

    def add(
        self, readings: list[Reading | None], seconds: float, gpu: GpuUse | None = None
    ) -> None:
        """Add the sample of an interval of ``seconds``, from what was read within it."""
        now = self._clock()
        # Where the clock was set back, times go on from there.
        while self._samples and self._samples[-1].time >= now:
            self._samples.pop()
        sample = self._of_model([r for r in readings if r], now, seconds)
        self._gpu = gpu or self._gpu
        if gpu:
            sample = dataclasses.replace(
                sample,
                gpu_memory_bytes=gpu.memory_bytes,
                gpu_utilization_percent=gpu.utilization_percent,
                gpu_temperature_celsius=gpu.temperature_celsius,
            )
        self._samples.append(sample)

    def as_json(self, since: float = 0.0) -> dict[str, Any]:
        """As in ``/status/history``: a list for each column, of the samples after ``since``."""
        newer = itertools.dropwhile(lambda sample: sample.time <= since, self._samples)
        rows = [dataclasses.astuple(sample) for sample in newer]
        columns = zip(*rows, strict=True) if rows else ([] for _ in _COLUMNS)
        gpu = self._gpu
        return {
            # For a page on a machine whose clock differs.
            "now": round(self._clock(), 3),
            "interval_seconds": INTERVAL_SECONDS,
            "window_seconds": WINDOW_SECONDS,
            "gpu": {"count": gpu.count, "memory_total_bytes": gpu.memory_total_bytes}
            if gpu
            else None,
            "samples": dict(zip(_COLUMNS, map(list, columns), strict=True)),
        }

    def _of_model(self, readings: list[Reading], now: float, seconds: float) -> Sample:
        now = round(now, 3)
        if not readings or self._lifecycle.status.state not in _SERVING:
            # What an engine that is gone has counted is not the next one's.
            self._before = Reading()
            self._first_token.clear()
            return Sample(now)
        restarts = self._lifecycle.status.restarts
        if restarts != self._restarts:
            # The new engine may have counted as far as the dead one by now.
            self._before, self._restarts = Reading(), restarts
        counted = readings[-1].since(self._before)
        self._before = readings[-1]
        self._first_token.append(dict(counted.first_token))
        minute: collections.Counter[float] = collections.Counter()
        for buckets in self._first_token:
            minute.update(buckets)
        return Sample(
            now,
            _rounded(counted.generated_tokens / seconds),
            _rounded(counted.prompt_tokens / seconds),
            max(r.running for r in readings),
            max(r.waiting for r in readings),
            _rounded(100 * max(r.kv_cache for r in readings)),
            _rounded(metrics.quantile(minute, 0.5)),
            _rounded(metrics.quantile(minute, 0.95)),
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
