"""Programs under test: started with a mark in their environment that all they start shares."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Program:
    """A running program; ``output`` is the file that has what it printed."""

    process: subprocess.Popen[bytes]
    mark: str
    output_file: Path

    @property
    def output(self) -> str:
        return self.output_file.read_text(errors="replace")

    def living(self) -> list[int]:
        """The PIDs of the program and of all it started, however they are related now."""
        return [pid for pid in _pids() if self.mark in _environment(pid)]

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Return when the program has printed ``text``."""
        wait_until(lambda: text in self.output or self._is_over(text), seconds, self._tell)
        assert text in self.output, self._tell()

    def wait_for_nothing_left(self, seconds: float) -> None:
        """Return when neither the program nor anything it started lives."""
        wait_until(lambda: not self.living(), seconds, lambda: f"{self.living()} {self._tell()}")

    def _is_over(self, text: str) -> bool:
        return self.process.poll() is not None

    def _tell(self) -> str:
        return f"exit {self.process.poll()}, printed:\n{self.output}"


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Start ``command``, its output in ``folder``; at the end nothing of it is left."""
    mark = f"AI_SANDBOX_TEST={uuid.uuid4()}"
    name, value = mark.split("=")
    file = folder / f"{value}.out"
    with file.open("wb") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {}), name: value},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = Program(process, mark, file)
    try:
        yield program
    finally:
        # Python's resource tracker goes last and by itself: it frees the shared memory of the dead.
        # Again until none is left: one may start another while we look.
        while left := [p for p in program.living() if "resource_tracker" not in _command(p)]:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        process.wait()
        program.wait_for_nothing_left(10)


def shared_memory(pids: Iterable[int]) -> set[str]:
    """The names of the shared memory that ``pids`` use."""
    found: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found |= set(re.findall(r"/dev/shm/(\S+)", Path(f"/proc/{pid}/maps").read_text()))
    return found


def wait_until(
    condition: Callable[[], object], seconds: float, tell: Callable[[], str] = lambda: ""
) -> None:
    """Return when ``condition`` holds; fail with what ``tell`` says when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {tell()}"
        time.sleep(0.05)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return ""


def _environment(pid: int) -> str:
    # Empty for a zombie, which is what we want.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return ""
