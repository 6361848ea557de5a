"""Processes of this machine: binding their lives together and finding what they hold."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends.

    It holds for a stopped or hung process too, and is lost by ``fork`` (not by ``exec``).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_alive(pid: int) -> bool:
    """True for a process that runs or is stopped, false for one that is gone or a zombie."""
    return _state(pid) not in ("", "Z", "X")


def descendants(pid: int) -> list[int]:
    """The living children of ``pid``, their children and so on; parents first."""
    found: list[int] = []
    for child in _children(pid):
        if is_alive(child):
            found.append(child)
        found += descendants(child)
    return found


def _state(pid: int) -> str:
    try:
        # The name in parentheses may hold anything; the state is the first field after it.
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def _children(pid: int) -> list[int]:
    children: list[int] = []
    # A process belongs to the thread that started it.
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            children += map(int, (thread / "children").read_text().split())
    return children
