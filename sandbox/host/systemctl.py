"""systemd's services: asked and told through systemctl, with sentences for its refusals."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from sandbox.errors import SandboxError

JOURNAL_LINES = 15


def daemon_reload() -> None:
    """Have systemd read the unit files again."""
    _run("daemon-reload")


def start(*units: str) -> None:
    """Start ``units``; returns when they say that they are up. Raises ``SandboxError``."""
    _run("start", *units)


def restart(*units: str) -> None:
    """Stop and start ``units``. Raises ``SandboxError``."""
    _run("restart", *units)


def reload(unit: str) -> None:
    """Have ``unit`` read its settings again. Raises ``SandboxError``."""
    _run("reload", unit)


def stop(*units: str) -> None:
    """Stop ``units``; units that are not there count as stopped."""
    _ask("stop", *units)


def enable(*units: str) -> None:
    """Have ``units`` started at boot."""
    _run("enable", "--quiet", *units)


def disable(*units: str) -> None:
    """Not start ``units`` at boot any more."""
    _ask("disable", "--quiet", *units)


def reset_failed(*units: str) -> None:
    """Forget failures and counted starts of ``units``, so that they may start at once."""
    _ask("reset-failed", *units)


def is_active(unit: str) -> bool:
    """True while ``unit`` runs or is about to."""
    return _ask("is-active", unit).stdout.strip() in ("active", "activating", "reloading")


def is_enabled(unit: str) -> bool:
    """True when ``unit`` is started at boot."""
    return _ask("is-enabled", unit).stdout.strip() == "enabled"


def show(unit: str, *properties: str) -> dict[str, str]:
    """Properties of ``unit`` by name; empty where systemd has none."""
    answer = _ask("show", unit, f"--property={','.join(properties)}").stdout
    return dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)


def journal(unit: str, lines: int = JOURNAL_LINES) -> str:
    """The newest lines of the journal for ``unit``; empty when they may not be read."""
    command = ["journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}"]
    try:
        return _capture([*command, f"--unit={unit}"]).stdout
    except FileNotFoundError:
        return ""


def _run(verb: str, *arguments: str) -> None:
    done = _ask(verb, *arguments)
    if done.returncode:
        units = " ".join(a for a in arguments if not a.startswith("-"))
        logged = "".join(journal(unit) for unit in units.split()) if units else ""
        raise SandboxError(
            f"systemctl {verb} {units} failed: {done.stderr.strip() or done.stdout.strip()}",
            f"Its newest log lines:\n{logged}" if logged else "See: journalctl -xe",
        )


def _ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _capture(["systemctl", "--no-ask-password", *arguments])


def _capture(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
