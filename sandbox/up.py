"""Both services in the foreground of a terminal: started, watched and stopped as one."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.errors import ExitCode
from sandbox.host import addresses, sessions
from sandbox.host.ports import check_port_free
from sandbox.settings import Loaded, Settings

# With the steps after it this keeps the promise that Ctrl-C ends everything within 10 s.
STOP_WAIT_S = 7.0
LOOK_S = 0.2
DEATHS_ALLOWED = 5
DEATHS_WITHIN_S = 600.0
LONGEST_PAUSE_S = 30.0
# One that ran this long was well; its next death starts the pauses from the shortest.
WELL_AFTER_S = 60.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(loaded: Loaded, env_file: Path | None) -> int:
    """Serve the API and the chat page until Ctrl-C; the return value is the exit code.

    Raises ``SandboxError`` before anything is started when a port is taken.
    """
    settings = loaded.settings
    check_port_free(settings.api_host, settings.api_port, "API_PORT")
    check_port_free(settings.ui_host, settings.ui_port, "UI_PORT")
    chosen = ["--env-file", str(env_file)] if env_file else []
    # -P: a folder named sandbox where the person stands is not ours.
    command = [sys.executable, "-P", "-m", "sandbox.cli"]
    api = Service("api", [*command, "serve", *chosen])
    chat = Service("chat", [*command, "ui", *chosen])
    _say(f"Starting {settings.served_name}. Ctrl-C stops everything.")
    _print_addresses(settings)
    announcer = threading.Thread(
        target=_announce_ready, args=(settings, time.monotonic()), daemon=True
    )
    announcer.start()
    return supervise([api, chat], os.environ | {"PYTHONUNBUFFERED": "1"})


@dataclass
class Service:
    """A program of ours: its name before each of its lines, and how to start it."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[str] | None = None
    started_at: float = 0.0
    # Monotonic time of the next start while it is down.
    start_at: float = 0.0
    pause_s: float = 1.0
    deaths: collections.deque[float] = field(default_factory=collections.deque)

    def start(self, env: Mapping[str, str]) -> None:
        """Start it in a session of its own and copy its output to ours, line by line."""
        self.process = sessions.start(self.command, env)
        self.started_at = time.monotonic()
        threading.Thread(target=_copy_lines, args=(self.name, self.process), daemon=True).start()


def supervise(services: Sequence[Service], env: Mapping[str, str]) -> int:
    """Keep ``services`` running until a signal asks to stop; the return value is the exit code.

    One that dies is started again after a pause; exit status 78, or five deaths within ten
    minutes, ends all. Nothing that they started is left at the return.
    """
    with _stop_signals() as asked:
        try:
            for service in services:
                service.start(env)
            while not asked.wait(LOOK_S):
                for service in services:
                    code = _care(service, env)
                    if code is not None:
                        return code
            _say("Stopping.")
            return ExitCode.OK
        finally:
            asked.clear()
            _stop(services, asked)


def _care(service: Service, env: Mapping[str, str]) -> int | None:
    """Start ``service`` again when that is due; an exit code means that all must end."""
    now = time.monotonic()
    if service.process is None:
        if now >= service.start_at:
            service.start(env)
        return None
    status = service.process.poll()
    if status is None:
        return None
    sessions.kill(service.process.pid)
    service.process = None
    if status == ExitCode.CONFIG:
        _say(f"{service.name} found a wrong setting (see above), so everything stops.")
        return ExitCode.CONFIG
    how = f"with exit code {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
    # SIGTERM is for us alone to survive: `ai-sandbox protect` sends it to have settings read anew.
    if status != -signal.SIGTERM:
        service.deaths.append(now)
    while service.deaths and now - service.deaths[0] > DEATHS_WITHIN_S:
        service.deaths.popleft()
    if len(service.deaths) >= DEATHS_ALLOWED:
        _say(
            f"{service.name} ended {how}, {len(service.deaths)} times within 10 minutes, "
            "so everything stops. Its last lines above say why."
        )
        return ExitCode.FAILURE
    if now - service.started_at > WELL_AFTER_S:
        service.pause_s = 1.0
    _say(f"{service.name} ended {how}; it starts again in {service.pause_s:.0f} s.")
    service.start_at = now + service.pause_s
    service.pause_s = min(2 * service.pause_s, LONGEST_PAUSE_S)
    return None


def _stop(services: Sequence[Service], asked_again: _Asked) -> None:
    """SIGINT to all, then SIGKILL to what is left of their sessions; a second Ctrl-C hurries."""
    processes = [s.process for s in services if s.process]
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_WAIT_S
    while any(process.poll() is None for process in processes):
        if time.monotonic() > deadline or asked_again.wait(LOOK_S / 2):
            break
    for process in processes:
        sessions.kill(process.pid)
        process.wait()


class _Asked:
    """Whether a signal asked to stop.

    Not a ``threading.Event``: its lock is taken in the handler, and a second signal that comes
    meanwhile would wait for it in the same thread, for ever.
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        self._asked = True

    def clear(self) -> None:
        self._asked = False

    def wait(self, seconds: float) -> bool:
        """True when it was asked before the wait or during it."""
        if not self._asked:
            time.sleep(seconds)
        return self._asked


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Asked]:
    """What the signals to stop set, in place of what they did before."""
    asked = _Asked()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in STOP_SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _copy_lines(name: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        # Our reader may be gone (`make run | head`); the service must not block on it.
        with contextlib.suppress(OSError):
            print(f"{name:<4} | {line}", end="", flush=True)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _print_addresses(settings: Settings) -> None:
    _say(f"  Chat page  {_addresses(settings.ui_host, settings.ui_port)}")
    _say(f"  API        {_addresses(settings.api_host, settings.api_port, '/v1')}")


def _addresses(host: str, port: int, path: str = "") -> str:
    hosts = ["localhost", *addresses.own_address()] if host in addresses.EVERYWHERE else [host]
    return "  ".join(addresses.url(h, port, path) for h in hosts)


def _announce_ready(settings: Settings, began: float) -> None:
    """Say once of each service that it answers and after how long; and why the API does not."""
    failure = ""
    api_said = page_said = False
    while not (api_said and page_said):
        time.sleep(0.5)
        status = {} if api_said else _status(settings)
        if status.get("state") == "ready":
            api_said = True
            _say_ready("API", settings.api_host, settings.api_port, "/v1", began)
        if status.get("state") == "failed" and status.get("message") != failure:
            failure = str(status.get("message"))
            _say(f"The API cannot serve the model: {failure}\n{status.get('hint', '')}")
        if not page_said and _get(settings.ui_host, settings.ui_port, "/health") is not None:
            page_said = True
            _say_ready("Chat page", settings.ui_host, settings.ui_port, "", began)


def _say_ready(what: str, host: str, port: int, path: str, began: float) -> None:
    seconds = time.monotonic() - began
    _say(f"{what} ready after {seconds:.0f} s: {_addresses(host, port, path)}")


def _status(settings: Settings) -> dict[str, Any]:
    """What the API says of itself; empty while it does not."""
    keys = settings.api_keys
    body = _get(settings.api_host, settings.api_port, "/status", keys[0] if keys else None)
    with contextlib.suppress(ValueError):
        status = json.loads(body or "")
        if isinstance(status, dict):
            return status
    return {}


def _get(host: str, port: int, path: str, key: str | None = None) -> str | None:
    """The body of our own service's answer; None when it does not answer well."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    request = urllib.request.Request(_addresses(host, port, path))
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    # A proxy that the person has set is not for this machine's own ports.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            body: bytes = response.read()
            return body.decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
