"""vLLM's plugin hook, which runs in every process of the engine: end with the launcher.

Forks of the zygote are bound to it by the kernel already. This is for spawned processes, which
have another parent; a thread watches the launcher there.
"""

from __future__ import annotations

import os
import select
import signal
import threading

LAUNCHER_PID = "AI_SANDBOX_LAUNCHER_PID"


def end_with_launcher() -> None:
    """Kill this process when the launcher ends, however it ends. Returns at once."""
    launcher = int(os.environ.get(LAUNCHER_PID, "0"))
    if launcher in (0, os.getpid()):
        return
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
