"""How far a download is: measured on disk, so that who waits sees the same as who downloads."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

# Bytes that are there, bytes of the whole (None: not known yet), bytes per second of late.
Report = Callable[[int, int | None, float | None], None]
# Bytes that are there, bytes of the whole.
Measure = Callable[[], tuple[int, int | None]]

_TICK_SECONDS = 0.5
_RATE_SECONDS = 10.0


class Meter:
    """While entered, calls ``report`` twice a second from a thread, at once and at the end too."""

    def __init__(self, measure: Measure, report: Report) -> None:
        self._measure = measure
        self._report = report
        self._seen: collections.deque[tuple[float, int]] = collections.deque(
            maxlen=int(_RATE_SECONDS / _TICK_SECONDS) + 1
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download-meter", daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        self.tick(time.monotonic())
        while not self._stop.wait(_TICK_SECONDS):
            self.tick(time.monotonic())
        self.tick(time.monotonic())

    def tick(self, now: float) -> None:
        """Measure and report; ``now`` in seconds."""
        done, total = self._measure()
        self._seen.append((now, done))
        then, before = self._seen[0]
        rate = (done - before) / (now - then) if now > then else 0.0
        self._report(done, total, rate if rate > 0 else None)


def describe(done: int, total: int | None, rate: float | None) -> str:
    """Such as ``6.2 of 14.5 GB, about 2 minutes left``."""
    if not total:
        return f"{size(done)} so far"
    number, unit = size(total).split()
    so_far = f"{done / _UNITS[unit]:.1f}"
    text = f"{so_far} of {number} {unit}"
    if not rate or done >= total:
        return text
    left = (total - done) / rate
    if left < 90:
        return f"{text}, about {max(1, round(left))} seconds left"
    if left < 5400:
        return f"{text}, about {round(left / 60)} minutes left"
    return f"{text}, about {round(left / 3600)} hours left"


_UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3}


def size(count: float) -> str:
    """Bytes for people, such as ``14.5 GB``."""
    unit = next((unit for unit, scale in _UNITS.items() if count >= scale), "kB")
    return f"{count / _UNITS[unit]:.1f} {unit}"
