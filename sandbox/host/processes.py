"""Processes of this machine: binding their lives together and finding what they hold."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
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
    return state(pid) not in ("", "Z", "X")


def parent(pid: int) -> int:
    """The PID of the process that started ``pid``; 0 for none that can be seen."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def descendants(pid: int) -> list[int]:
    """The living children of ``pid``, their children and so on; parents first."""
    found: list[int] = []
    for child in children(pid):
        if is_alive(child):
            found.append(child)
        found += descendants(child)
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """What ``pids``, and the children that they have waited for, have computed so far."""
    ticks = 0
    for pid in pids:
        # utime, stime, and the same of the children: proc(5).
        ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def private_bytes(pids: Iterable[int]) -> int:
    """The memory that would be free if ``pids`` ended; what may not be looked at counts as 0."""
    found = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean:", "Private_Dirty:")):
                    found += int(line.split()[1]) * 1024
    return found


def state(pid: int) -> str:
    """The kernel's letter for what it does, such as ``S`` or ``T``; empty when it is gone."""
    return "".join(_stat(pid)[:1])


def _stat(pid: int) -> list[str]:
    """The fields from the state on; none when it is gone."""
    try:
        # The name in parentheses may hold anything.
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def children(pid: int) -> list[int]:
    """The processes that ``pid`` started and has not yet collected."""
    found: list[int] = []
    # A process belongs to the thread that started it.
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return found
