"""What the engine's processes print: passed on to our log, and kept to explain a failure."""

from __future__ import annotations

import collections
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_KEPT_LINES = 400
_ERROR = re.compile(r"(?:^|[\s\]])((?:\w+\.)*\w*(?:Error|Exception)): (.+)$")
# Errors that only say that another process has failed.
_SECONDARY = ("initialization failed", "EngineCore encountered an issue", "EngineDeadError")


def first_sentence(error: BaseException) -> str:
    """What ``error`` says in one line; vLLM's configuration errors come wrapped by pydantic."""
    text = str(error).strip() or type(error).__name__
    wrapped = re.search(r"Value error, (.+?)(?: \[type=|$)", text, re.DOTALL)
    line = (wrapped.group(1) if wrapped else text).strip().splitlines()[0]
    return line.rstrip(".") + "."


class EngineLog:
    """Copies the output of child processes to our own stderr, remembering the newest lines."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Processes started inside have their stdout and stderr captured for life.

        For the main thread before others run: the descriptors are swapped for a moment.
        """
        reader, writer = os.pipe()
        saved = os.dup(1), os.dup(2)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        try:
            yield
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in (*saved, writer):
                os.close(descriptor)
        threading.Thread(target=self._pump, args=(reader,), name="engine-log", daemon=True).start()

    def forget(self) -> None:
        """Drop what was kept, before a new attempt."""
        self._lines.clear()

    def root_cause(self) -> str:
        """The newest error that is not about another error, or "" when none was printed."""
        for line in reversed(list(self._lines)):
            found = _ERROR.search(line)
            if found and not any(text in line for text in _SECONDARY):
                return found.group(2).strip().rstrip(".") + "."
        return ""

    def _pump(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._lines.append(line.rstrip("\n"))
                # One write a line, so that lines of two writers do not mix. Our own reader may be
                # gone; the engine must not block on that.
                with suppress(OSError):
                    os.write(2, line.encode("utf-8", "replace"))
