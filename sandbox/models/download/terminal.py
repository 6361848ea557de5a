"""The verb ``download``: a model comes to disk in the foreground, with its progress printed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from sandbox.errors import ExitCode
from sandbox.models.download import RETRY_SECONDS, Hub, HubUnreachableError, fetch
from sandbox.models.download.progress import describe, size
from sandbox.models.source import HubModel, LocalModel, check_folder, resolve
from sandbox.settings import Settings


def run(settings: Settings, model_id: str | None, revision: str | None) -> int:
    """Download ``model_id``, or the model of the settings; the value is the exit code.

    Tries again after each pause of ``RETRY_SECONDS`` while the hub does not answer. Raises
    ``SandboxError``.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if model_id is None:
        model_id, revision = settings.model_id, revision or settings.model_revision
    model = resolve(model_id, revision)
    if isinstance(model, LocalModel):
        print(f"{model_id} is on this machine; there is nothing to download.")
        return ExitCode.OK
    with _ended_by_signals(), _Printer(model_id) as printer:
        folder = _fetch(model, settings, printer)
        check_folder(model_id, folder)
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{model_id} is complete: {size(total)} in {folder}", flush=True)
    return ExitCode.OK


def _fetch(model: HubModel, settings: Settings, printer: _Printer) -> Path:
    for pause in RETRY_SECONDS:
        try:
            return fetch(model, settings.models_dir, Hub.of(settings), printer.report)
        except HubUnreachableError as error:
            pause = max(pause, error.retry_after)
            printer.say(f"{error.message} The next try is in {pause:.0f} s.")
            time.sleep(pause)
    return fetch(model, settings.models_dir, Hub.of(settings), printer.report)


class _Printer:
    """Progress: one line drawn again and again on a terminal, else a line for each 10%."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._live = sys.stdout.isatty()
        self._next_percent = 0.0
        self._drawn = False
        self._lock = threading.Lock()

    def __enter__(self) -> _Printer:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_line()

    def report(self, done: int, total: int | None, rate: float | None) -> None:
        """As ``fetch`` wants it."""
        text = f"{self._name}: {describe(done, total, rate)}"
        percent = 100 * done / total if total else 0.0
        if total:
            text += f" ({percent:.0f}%{f', {size(rate)}/s' if rate else ''})"
        with self._lock:
            if self._live:
                # A line that wraps could not be drawn over.
                shown = text[: shutil.get_terminal_size().columns - 1]
                print(f"\r\x1b[K{shown}", end="", flush=True)
                self._drawn = True
            elif total and percent >= self._next_percent:
                print(text, flush=True)
                self._next_percent = 10 * (percent // 10 + 1)

    def say(self, text: str) -> None:
        """A line of its own."""
        self._end_line()
        print(text, flush=True)

    def _end_line(self) -> None:
        with self._lock:
            if self._drawn:
                print(flush=True)
            self._drawn = False


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the process at once: what has arrived is on disk."""

    def end(number: int, frame: FrameType | None) -> None:
        os.write(1, b"\nStopped. What has arrived is kept; the next download goes on from there.\n")
        # Not sys.exit: it would wait for the transfers.
        os._exit(ExitCode.FAILURE)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
