"""vLLM's plugin hook, which runs in every process of the engine: what each of them needs of us."""

from __future__ import annotations

import os
import select
import signal
import threading

from sandbox.engine import wake_ups

LAUNCHER_PID = "AI_SANDBOX_LAUNCHER_PID"


def load() -> None:
    """Make this process one of our engine, unless it is the launcher. Returns at once."""
    launcher = int(os.environ.get(LAUNCHER_PID, "0"))
    if launcher in (0, os.getpid()):
        return
    end_with_launcher(launcher)
    # Not by vllm_api, which imports much that a spawned process does not need.
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    wake_ups.install(SpinCondition)


def end_with_launcher(launcher: int) -> None:
    """Kill this process when the process ``launcher`` ends, however it ends. Returns at once.

    Forks of the zygote are bound to it by the kernel already. This is for spawned processes, which
    have another parent; a thread watches the launcher there.
    """
    try:
        descriptor = os.pidfd_open(launcher)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
        return
    threading.Thread(target=_watch, args=(descriptor,), name="launcher-watch", daemon=True).start()


def _watch(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)
