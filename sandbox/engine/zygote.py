"""The clean, single-threaded process that imports vLLM once and that engine processes fork from.

It is Python's own fork server with three additions: it and its children die with the launcher
(the kernel sees to it, so ``kill -9`` is covered), children get the environment of the process
that asked for them, and a child that asks for children in turn uses the same fork server.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

PRELOAD = "sandbox.engine.zygote_preload"
LAUNCHER_PID = "AI_SANDBOX_LAUNCHER_PID"

# Its class has no types for what it keeps to itself; Python's version is pinned.
_server: Any = forkserver._forkserver


class ZygoteProcess(ForkServerProcess):
    """A process forked from the zygote that runs with its requester's environment."""

    def start(self) -> None:
        self._environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        # The fork inherited the server's address: without this the first child of an engine
        # process would start a fork server of its own.
        _server.ensure_running = lambda: None
        _apply_cpu_binding()
        super().run()


class ZygoteContext(ForkServerContext):
    """The multiprocessing context that vLLM is given."""

    Process = ZygoteProcess


_context = ZygoteContext()


def get_mp_context() -> ZygoteContext:
    """Takes the place of vLLM's function of the same name."""
    return _context


def start() -> None:
    """Start the zygote; returns at once, its imports go on in the background.

    Call from the main thread: the zygote dies with the thread that started it.
    """
    os.environ[LAUNCHER_PID] = str(os.getpid())
    multiprocessing.set_forkserver_preload([PRELOAD])
    forkserver.ensure_running()


def alive() -> bool:
    """False when the zygote ended, as it does when it cannot import vLLM without touching CUDA."""
    pid = _server._forkserver_pid
    if pid is None:
        return False
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def children() -> list[int]:
    """The ids of the engine's processes that live now."""
    pid = _server._forkserver_pid
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def sweep(seconds: float) -> None:
    """Give the engine's processes ``seconds`` to end, then kill what is left. Blocks."""
    deadline = time.monotonic() + seconds
    while children() and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _apply_cpu_binding() -> None:
    """OpenMP read its variables when the zygote loaded it; tell the fork what they are now."""
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        import torch

        torch.set_num_threads(int(threads))
    cores = os.environ.get("GOMP_CPU_AFFINITY")
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split()})
