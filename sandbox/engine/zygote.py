"""The clean, single-threaded process that imports vLLM once and that engine processes fork from.

It is Python's own fork server with three additions: it and its children die with the launcher
(the kernel sees to it, so ``kill -9`` is covered), children get the environment of the process
that asked for them, and a child that asks for children in turn uses the same fork server.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, TypeVar, cast

from sandbox.host.processes import descendants, is_alive

T = TypeVar("T")

PRELOAD = "sandbox.engine.zygote_preload"
# Exit status of a zygote that cannot be forked from on this machine: another would be the same.
GIVEN_UP = 77
_ABORT_SECONDS = 2.0
_SAFE_PATH = "PYTHONSAFEPATH"
# One that hangs in a driver is not waited for longer.
_GONE_SECONDS = 3.0

# The class has no types for what it keeps to itself; Python's version is pinned.
_server: Any = forkserver._forkserver
_tracker: Any = resource_tracker._resource_tracker


def _start_nothing() -> None:
    """Takes the place of the fork server's ``ensure_running``, which every fork calls first.

    In the launcher it would start a server from a thread, with whose end the kernel would kill
    it; in an engine process it would start a second one.
    """


class ZygoteProcess(ForkServerProcess):
    """A process forked from the zygote that runs with its requester's environment."""

    def start(self) -> None:
        self._environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        _server.ensure_running = _start_nothing
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

    Call from the main thread only: the zygote dies with the thread that started it.
    """
    multiprocessing.set_forkserver_preload([PRELOAD])
    # Started as ``python -c``, it would look for modules in the current directory first, whatever
    # that is. What it forks gets the environment of who asks.
    given = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        forkserver.ForkServer.ensure_running(_server)
    finally:
        del os.environ[_SAFE_PATH]
        if given is not None:
            os.environ[_SAFE_PATH] = given
    _server.ensure_running = _start_nothing


def restart_if_killed() -> None:
    """Start another zygote when the one that was started ended for no reason of its own.

    As ``start``, from the main thread only.
    """
    pid = _server._forkserver_pid
    if pid is None:
        return
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return
    os.close(_server._forkserver_alive_fd)
    _server._forkserver_address = None
    _server._forkserver_alive_fd = None
    _server._forkserver_pid = None
    if os.waitstatus_to_exitcode(status) != GIVEN_UP:
        start()


def usable() -> bool:
    """Wait for the zygote's imports and try a fork; False when vLLM must spawn. Blocks."""
    pid = _server._forkserver_pid
    if pid is None or not is_alive(pid):
        return False
    probe = _context.Process(target=_end_well_if_gpus_can_be_used)
    try:
        probe.start()
    except (OSError, EOFError):
        # It ended meanwhile.
        return False
    probe.join()
    return probe.exitcode == 0


def call(function: Callable[[], T]) -> T:
    """What ``function`` returns in a fork of the zygote. Blocks.

    Raises ``RuntimeError`` with the traceback when it fails there.
    """
    import cloudpickle

    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_answer, args=(cloudpickle.dumps(function), sender))
    process.start()
    sender.close()
    try:
        failed, answer = receiver.recv()
    except EOFError:
        failed, answer = True, "the process ended without an answer"
    process.join()
    receiver.close()
    if failed:
        raise RuntimeError(f"Error raised in subprocess:\n{answer}")
    return cast(T, answer)


def engine_processes() -> list[int]:
    """The ids of the engine's processes that live now, however they were started."""
    ours = {_server._forkserver_pid, _tracker._pid}
    return [pid for pid in descendants(os.getpid()) if pid not in ours]


def sweep(seconds: float) -> None:
    """Give the engine's processes ``seconds`` to end, then kill what is left. Blocks.

    Returns when they are gone.
    """
    deadline = time.monotonic() + seconds
    while engine_processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed = engine_processes()
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # The kernel takes a moment; until then their memory, a GPU's too, is not free for the next.
    deadline = time.monotonic() + _GONE_SECONDS
    while any(map(is_alive, killed)) and time.monotonic() < deadline:
        time.sleep(0.05)


def abort() -> None:
    """Have the engine's processes print where they are and end: for those that hang. Blocks."""
    for signal_number in (signal.SIGABRT, signal.SIGCONT):
        for pid in engine_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
    sweep(_ABORT_SECONDS)


def _answer(function: bytes, sender: Connection) -> None:
    try:
        sender.send((False, pickle.loads(function)()))
    except Exception:
        sender.send((True, traceback.format_exc()))


def _end_well_if_gpus_can_be_used() -> None:
    import torch

    # True when something used CUDA before the fork, which ``is_initialized`` does not always see.
    if torch.cuda._is_in_bad_fork():
        sys.exit(1)


def _apply_cpu_binding() -> None:
    """OpenMP read its variables when the zygote loaded it; tell the fork what they are now."""
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        import torch

        torch.set_num_threads(int(threads))
    cores = os.environ.get("GOMP_CPU_AFFINITY")
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split()})
