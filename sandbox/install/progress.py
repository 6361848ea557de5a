"""Shows side-by-side steps: redrawn lines on a terminal, one line per news elsewhere.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TextIO

REDRAW_S = 0.5
HEARTBEAT_S = 15.0


class Board:
    """One line for each name: what it does and for how long. Use it as a context manager."""

    def __init__(self, names: list[str], out: TextIO = sys.stderr) -> None:
        self._out = out
        self._live = out.isatty()
        self._width = max(len(name) for name in names)
        now = time.monotonic()
        self._began = now
        self._texts = dict.fromkeys(names, "waiting")
        self._ended_after: dict[str, float] = {}
        self._printed = {name: ("", now) for name in names}
        self._drawn = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Board:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._show()

    def say(self, name: str, text: str, ended: bool = False) -> None:
        """``name`` does ``text`` now; ``ended`` stops its clock."""
        with self._lock:
            self._texts[name] = text
            if ended:
                self._ended_after[name] = time.monotonic() - self._began
            if not self._live:
                self._show()

    def _loop(self) -> None:
        while not self._stop.wait(REDRAW_S):
            with self._lock:
                self._show()

    def _show(self) -> None:
        if self._live:
            columns = shutil.get_terminal_size().columns
            up = f"\x1b[{self._drawn}A" if self._drawn else ""
            lines = [self._line(name)[: columns - 1] + "\x1b[K\n" for name in self._texts]
            self._out.write(up + "".join(lines))
            self._drawn = len(lines)
        else:
            for name, text in self._texts.items():
                self._print_news(name, text)
        self._out.flush()

    def _print_news(self, name: str, text: str) -> None:
        last, at = self._printed[name]
        now = time.monotonic()
        # The first word is the step; what follows changes often and waits for the heartbeat.
        is_new_step = text.split(" ", 1)[0] != last.split(" ", 1)[0]
        is_due = now - at > HEARTBEAT_S and name not in self._ended_after
        if is_new_step or is_due:
            self._out.write(self._line(name) + "\n")
            self._printed[name] = (text, now)

    def _line(self, name: str) -> str:
        seconds = self._ended_after.get(name, time.monotonic() - self._began)
        return f"  {name:<{self._width}}  {seconds:4.0f} s  {self._texts[name]}"
