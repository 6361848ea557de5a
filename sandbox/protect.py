"""The verbs ``protect``, ``keys`` and ``credentials``: who gets in, and what with."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from sandbox import keys, reach, report
from sandbox.env_file import set_values
from sandbox.errors import ExitCode, SandboxError
from sandbox.host import processes, systemctl
from sandbox.install import motd
from sandbox.install.record import Record
from sandbox.paths import Box, Paths
from sandbox.settings import Loaded, Settings, load
from sandbox.ui import credentials

_FIRST = "first"
# A service that reads its settings at all does so within this.
_READ_SECONDS = 20.0


def protect(loaded: Loaded, env_file: Path | None, off: bool) -> int:
    """Set ACCESS in the env file and have both services follow; the exit code.

    Makes a key when there is none. Raises ``SandboxError``, with nothing changed, when the file
    cannot be written or the running service is not to be told by this user.
    """
    paths = Paths.here()
    access = "open" if off else "protected"
    before = report.ask(loaded.settings)
    if before:
        reach.check(before["pid"], paths, "ACCESS")
    file = env_file or paths.env_file
    sample = paths.sample
    set_values(file, {"ACCESS": access}, sample if sample.exists() else None)
    print(f"{file} says ACCESS={access} now.", flush=True)
    loaded = load(env_file=env_file)
    if not off:
        _ensure_key(loaded, file)
    follows = _tell_services(before, loaded.settings, paths, off)
    if not paths.is_clone:
        motd.ensure_motd(Box(), Record(Box()), loaded.settings)
    if off and loaded.settings.api_keys:
        print("API_KEY is set, so the API still wants a key.")
    if not off:
        print(f"How to log in: {_sudo(paths)}ai-sandbox credentials")
    return ExitCode.OK if follows else ExitCode.FAILURE


def add_key(loaded: Loaded, env_file: Path | None, name: str) -> int:
    """Make a key and show it, this once."""
    paths = Paths.here()
    key = keys.add(loaded.keys_file, name, env_file or paths.env_file)
    print(f"The key {name}, which is shown only now:\n\n  {key}\n")
    if not is_needed(loaded.settings):
        print(
            "The API is open: it asks for no key. "
            f"`{_sudo(paths)}ai-sandbox protect` makes it ask for one."
        )
    return ExitCode.OK


def list_keys(loaded: Loaded, as_json: bool) -> int:
    """Print the names of the keys; what they are nobody knows any more."""
    kept = keys.read(loaded.keys_file)
    if as_json:
        print(json.dumps([{"name": name, "made": key.made} for name, key in kept.items()]))
        return ExitCode.OK
    for name, key in kept.items():
        print(f"{name:<23} made on {key.made}")
    given = len(loaded.settings.api_keys)
    if given:
        print(f"and {given} of API_KEY")
    if not kept and not given:
        print("There are none; `ai-sandbox keys add NAME` makes one.")
    return ExitCode.OK


def remove_key(loaded: Loaded, env_file: Path | None, name: str) -> int:
    """Have the key not be accepted any more."""
    keys.remove(loaded.keys_file, name, env_file or Paths.here().env_file)
    print(f"The key {name} is not accepted any more.")
    return ExitCode.OK


def print_credentials(loaded: Loaded) -> int:
    """Print the administrator's login and the chat page's own key."""
    settings, paths = loaded.settings, Paths.here()
    data = settings.ui_data_dir
    password = credentials.peek(data, credentials.ADMIN_PASSWORD_FILE)
    key = credentials.peek(data, credentials.API_KEY_FILE)
    if password is None or key is None:
        who = "ask as the user who started it" if paths.is_clone else "only root may read them"
        raise SandboxError(
            f"The secrets of the chat page in {data} are not there, or not for this user to read.",
            f"They are made at its first start; {who}.",
        )
    print(f"Chat page, log in as    {credentials.ADMIN_EMAIL}")
    print(f"with the password       {password}")
    print("                        (the first one: who changed it in the page knows the present)")
    print(f"The chat page's API key {key}")
    if settings.access == "open":
        print(f"The chat page is open: it asks for no login ({_sudo(paths)}ai-sandbox protect).")
    return ExitCode.OK


def is_needed(settings: Settings) -> bool:
    """True when the API of ``settings`` wants a key."""
    return settings.access == "protected" or bool(settings.api_keys)


def _ensure_key(loaded: Loaded, file: Path) -> None:
    if loaded.settings.api_keys or keys.read(loaded.keys_file):
        return
    key = keys.add(loaded.keys_file, _FIRST, file)
    print(f"The API wants a key. This one, called {_FIRST}, is shown only now:\n\n  {key}\n")


def _tell_services(
    before: dict[str, Any] | None, settings: Settings, paths: Paths, off: bool
) -> bool:
    """Have both services be as ``settings`` say; False when one still has to be restarted."""
    if before:
        reach.reload(before["pid"], paths)
        _wait_for_reload(before, settings)
        print(f"The API {'wants' if is_needed(settings) else 'does not want'} a key now.")
    else:
        print("No API answers now; its next start follows.")
    if not paths.is_clone:
        if systemctl.is_active(reach.PAGE_UNIT):
            systemctl.restart(reach.PAGE_UNIT)
            print(f"The chat page starts again, {'open' if off else 'with a login'}.")
        return True
    pages = _pages_beside(before["pid"]) if before else []
    for pid in pages:
        os.kill(pid, signal.SIGTERM)
    if pages:
        print(f"The chat page starts again, {'open' if off else 'with a login'}.")
        return True
    print("Should the chat page be running: restart it, it reads ACCESS at its start.")
    return before is None


def _pages_beside(pid: int) -> list[int]:
    """What `ai-sandbox up` runs beside the API ``pid``, and starts again when it ends."""
    parent = processes.parent(pid)
    words = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0") if parent else []
    if b"up" not in words:
        return []
    return [child for child in processes.children(parent) if child != pid]


def _wait_for_reload(before: dict[str, Any], settings: Settings) -> None:
    deadline = time.monotonic() + _READ_SECONDS
    while time.monotonic() < deadline:
        status = report.ask(settings)
        if status and status["key_needed"] == is_needed(settings):
            return
        if status and status["reloads"] != before["reloads"]:
            raise SandboxError(
                f"The API did not follow: {status['notice']}", "Correct that, then run it again."
            )
        time.sleep(0.1)
    raise SandboxError(
        "The API does not read its settings.", "Restart both services; their logs may say why."
    )


def _sudo(paths: Paths) -> str:
    return ".venv/bin/" if paths.is_clone else "sudo "
