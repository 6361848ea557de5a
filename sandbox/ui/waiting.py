"""Answers on the chat page's port while Open WebUI starts.

It takes connections from the same listening socket as Open WebUI, so that none is refused or lost
when one follows the other.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from sandbox.host import small_server
from sandbox.host.processes import die_with_parent
from sandbox.host.small_server import CONNECTION_S, Answer, Request

PAGE = Path(__file__).with_name("waiting.html")
RETRY_AFTER_S = 5
MESSAGE = "The chat page is starting. Try again in a few seconds."


class Waiting(NamedTuple):
    """The running page: ``process``, and the fd whose closing, by anybody's death too, ends it."""

    process: subprocess.Popen[bytes]
    hold: int

    def end(self) -> None:
        """Have it end, and wait for that."""
        os.close(self.hold)
        self.process.kill()
        self.process.wait()


def start(listener: socket.socket) -> Waiting:
    """Start the page on ``listener``; call it on the main thread, with which it ends."""
    until, hold = os.pipe()
    command = [sys.executable, "-P", "-m", "sandbox.ui.waiting"]
    process = subprocess.Popen(
        [*command, str(listener.fileno()), str(until), str(os.getpid())],
        pass_fds=(listener.fileno(), until),
        stdin=subprocess.DEVNULL,
    )
    os.close(until)
    return Waiting(process, hold)


def answer(request: Request) -> Answer:
    """The page for people, 503 with an explanation for programs."""
    if small_server.is_for_people(request):
        html = PAGE.read_text(encoding="utf-8")
        return small_server.page("chat-page-starts", html, request, RETRY_AFTER_S)
    return small_server.unavailable(MESSAGE, RETRY_AFTER_S)


def _main() -> None:
    listener, until, parent = map(int, sys.argv[1:])
    # With the closing of `until` alone, a stopped process would keep the port from the next start.
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(1)
    small_server.serve(socket.socket(fileno=listener), answer, until, CONNECTION_S)


if __name__ == "__main__":
    _main()
