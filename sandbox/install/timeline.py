"""The steps of an installation and how far they are: told to the progress page and to the log.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO

HEARTBEAT_S = 15.0
# An older file is that of an installer that is gone.
FRESH_S = 10.0
# Of a sentence on the page, which the whole internet may read.
LONGEST = 300


class Title(NamedTuple):
    """A step as people see it; ``weight`` is its share of the percentage (seconds on a box)."""

    key: str
    text: str
    weight: float


# In the order of the page. Those without a weight come when the services have the ports.
STEPS = (
    Title("prepare", "Installer", 6),
    Title("settings", "Settings and users", 1),
    Title("packages", "System packages", 15),
    Title("driver", "GPU driver", 30),
    Title("api", "Environment of the API", 60),
    Title("check", "Check of the engine", 10),
    Title("ui", "Environment of the chat page", 30),
    Title("model", "Model", 40),
    Title("accounts", "Accounts of the chat page", 10),
    Title("services", "Services", 5),
    Title("answer", "First answer", 0),
    Title("finish", "Finishing", 0),
)


class Timeline:
    """Written by one installer at a time; a context manager that keeps ``file`` fresh."""

    def __init__(self, file: Path, model: str, out: TextIO = sys.stdout) -> None:
        self._file = file
        self.model = model
        self._out = out
        self._began = time.time()
        self._states = {title.key: "waiting" for title in STEPS}
        self._began_at: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._percent: dict[str, float] = {}
        self._said: dict[str, tuple[str, float]] = {}
        self._failure: dict[str, str] | None = None
        self._state = "running"
        self._is_handed_over = False
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)

    @classmethod
    def resume(cls, file: Path, model: str, out: TextIO = sys.stdout) -> Timeline:
        """Go on with what the process before this one wrote; anew when there is nothing fresh."""
        timeline = cls(file, model, out)
        with suppress(OSError, ValueError, KeyError, TypeError):
            before = json.loads(file.read_text(encoding="utf-8"))
            if before["state"] == "running" and time.time() - before["now"] < FRESH_S:
                timeline._began = float(before["began"])
                done = [s for s in before["steps"] if s["state"] == "done"]
                keys = {title.text: title.key for title in STEPS}
                for step in done:
                    timeline._states[keys[step["name"]]] = "done"
                    timeline._seconds[keys[step["name"]]] = float(step["seconds"])
                    timeline._began_at[keys[step["name"]]] = timeline._began + step["began_after"]
        return timeline

    def __enter__(self) -> Timeline:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        with self._lock:
            if self._state == "running" and not error and not self._is_handed_over:
                self._state = "done"
            self._write()

    def hand_over(self) -> None:
        """Another process goes on with this timeline: its end here is not the end."""
        self._is_handed_over = True

    def begin(self, key: str) -> None:
        """The step ``key`` runs now."""
        with self._lock:
            self._states[key] = "running"
            self._began_at[key] = time.time()
            self._write()

    def say(self, key: str, text: str) -> None:
        """What the step does, for the log; the same sort of news at most every 15 s."""
        with self._lock:
            sort, at = self._said.get(key, ("", 0.0))
            now = time.time()
            # The first words are the sort of news; figures behind them change often.
            if text.split(":")[0] != sort or now - at > HEARTBEAT_S:
                self._said[key] = (text.split(":")[0], now)
                self._print(key, text)

    def progress(self, key: str, percent: float) -> None:
        """How far the step is, 0 to 100."""
        with self._lock:
            self._percent[key] = percent

    def end(self, key: str, state: str = "done", text: str = "") -> None:
        """The step ``key`` is ``done``, ``skipped`` or ``failed``."""
        with self._lock:
            self._states[key] = state
            began = self._began_at.get(key)
            self._seconds[key] = time.time() - began if began else 0.0
            self._print(key, text or state)
            self._write()

    def fail(self, key: str, reason: str, hint: str, log: Path | None) -> None:
        """The whole installation failed, in the step ``key``.

        The page shows the first line of ``reason`` and of ``hint``; programs' output and log lines
        come below it, and only into the log.
        """
        with self._lock:
            self._state = "failed"
            self._failure = {
                "step": _title(key).text,
                "reason": _first_line(reason),
                "hint": _first_line(hint),
                "log": str(log or ""),
            }
            self.end(key, "failed", reason)

    @property
    def has_failed(self) -> bool:
        """True after ``fail``."""
        return self._failure is not None

    def as_json(self) -> dict[str, Any]:
        """What the progress page is given."""
        now = time.time()
        return {
            "model": self.model,
            "state": self._state,
            "percent": self._whole_percent(),
            "began": self._began,
            "now": now,
            "steps": [
                {
                    "name": title.text,
                    "state": self._states[title.key],
                    "percent": self._percent.get(title.key),
                    "seconds": self._step_seconds(title.key, now),
                    "began_after": self._began_after(title.key),
                }
                for title in STEPS
            ],
            "failure": self._failure,
        }

    def _step_seconds(self, key: str, now: float) -> float | None:
        if key in self._seconds:
            return round(self._seconds[key], 1)
        began = self._began_at.get(key)
        return round(now - began, 1) if began else None

    def _began_after(self, key: str) -> float | None:
        began = self._began_at.get(key)
        return round(began - self._began, 1) if began else None

    def _whole_percent(self) -> int:
        done = 0.0
        for title in STEPS:
            state = self._states[title.key]
            if state in ("done", "skipped"):
                done += title.weight
            elif state == "running":
                # Without a figure of its own a step comes close to its end and never reaches it.
                spent = (time.time() - self._began_at[title.key]) / max(title.weight, 1)
                part = self._percent.get(title.key, 90 * spent / (1 + spent)) / 100
                done += title.weight * part
        return int(100 * done / sum(title.weight for title in STEPS))

    def _print(self, key: str, text: str) -> None:
        after = time.time() - self._began
        for line in text.splitlines() or [""]:
            self._out.write(f"{after:6.0f} s  {_title(key).text:<29} {line}\n")
        self._out.flush()

    def _refresh(self) -> None:
        while not self._stop.wait(1.0):
            with self._lock:
                self._write()

    def _write(self) -> None:
        # The page is a help; a full or read-only /run must not end an installation.
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(self.as_json()), encoding="utf-8")
            new.replace(self._file)


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    if line.endswith(":"):
        # What follows in the log is left out here.
        line = f"{line[:-1]}."
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _title(key: str) -> Title:
    return next(title for title in STEPS if title.key == key)
