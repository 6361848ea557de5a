"""The running service, from another program: whether it may be told something, and telling it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.host import systemctl
from sandbox.paths import Paths

API_UNIT, PAGE_UNIT = "ai-sandbox-api", "ai-sandbox-ui"


def check(pid: int, paths: Paths, setting: str) -> None:
    """Raise ``SandboxError`` when the running service could not be told, or would not listen.

    ``pid`` is its own, ``setting`` the one that is about to be changed in the env file.
    """
    if not paths.is_clone and os.geteuid() != 0:
        raise SandboxError(
            "Reloading the service ai-sandbox-api takes root. Nothing was changed.",
            "Run the same with sudo.",
        )
    try:
        owner = Path(f"/proc/{pid}").stat().st_uid
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        owner, words, environment = -1, [], []
    if b"serve" not in words or os.geteuid() not in (0, owner):
        raise SandboxError(
            "The AI Sandbox on this port was started by another user or in a container, so it "
            "cannot be reloaded from here. Nothing was changed.",
            "Run this as the user who started it.",
        )
    given = f"{setting}=".encode()
    if any(text.startswith(given) and text != given for text in environment):
        raise SandboxError(
            f"The running service was started with {setting} in its environment, which wins over "
            "the env file. Nothing was changed.",
            f"Start it again without {setting}, for example: make run",
        )


def reload(pid: int, paths: Paths) -> None:
    """Have the service read its settings again."""
    if not paths.is_clone and systemctl.is_active(API_UNIT):
        systemctl.reload(API_UNIT)
    else:
        os.kill(pid, signal.SIGHUP)
