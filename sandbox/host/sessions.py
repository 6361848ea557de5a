"""Kernel sessions: a program and all it starts, bound to our life and ended as one.

As a program (``python -m sandbox.host.sessions PARENT_PID COMMAND...``) it turns into COMMAND,
which the kernel kills when PARENT_PID ends, however that ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.host.processes import die_with_parent


def start(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start ``command`` in a session of its own, its output a pipe of text lines.

    The session's number is the PID. Call it on the main thread: the kernel kills the program
    when the thread that started it ends.
    """
    # A program in between, and no preexec_fn: that may deadlock where threads run.
    bind = [sys.executable, "-P", "-m", "sandbox.host.sessions", str(os.getpid())]
    return subprocess.Popen(
        [*bind, *command],
        env=env,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def members(session: int) -> list[int]:
    """The PIDs of the living processes of ``session``; zombies are not among them."""
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name in parentheses may hold anything; state is the first field after it.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            pids.append(int(entry.name))
    return pids


def kill(session: int) -> None:
    """End every process of ``session`` with SIGKILL."""
    # Again until none is left: one may fork while we look.
    while pids := members(session):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError:
                return


def _main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    die_with_parent()
    # The parent may have ended before the line above; then nobody would end us.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _main()
