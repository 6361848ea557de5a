"""One installation by stackscript.sh, whose disk the tests' machines begin with."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from sandbox.host.small_server import PAGE_HEADER
from tests.process.processes import wait_until
from tests.systemd.boxes import SOURCE, Box, box, fork

API = "http://127.0.0.1:8000"
PAGE = "http://127.0.0.1:3000"
READY_S = 240
INSTALL_S = 900
ENV_FILE = "/etc/ai-sandbox.env"
SERVICES = ("ai-sandbox-api", "ai-sandbox-ui")


class Seen(NamedTuple):
    """What a port did at a moment: ``refused``, a page's name, ``status 200`` or ``gone``."""

    second: float
    port: int
    what: str


@dataclass
class Visitor:
    """Looks at both ports again and again, as a person with a browser."""

    seen: list[Seen] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    progress: list[dict[str, Any]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look from now on until the end of the block."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._look, args=(p, began)) for p in (8000, 3000)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def story(self, port: int) -> list[str]:
        """What ``port`` did, each change once."""
        story: list[str] = []
        for _, where, what in self.seen:
            if where == port and (not story or story[-1] != what):
                story.append(what)
        return story

    def _look(self, port: int, began: float) -> None:
        while not self._stop.wait(0.25):
            self.seen.append(Seen(time.monotonic() - began, port, self._ask(port)))

    def _ask(self, port: int) -> str:
        url = f"http://127.0.0.1:{port}"
        try:
            answer = httpx.get(url, headers={"Accept": "text/html"}, timeout=10)
            name = answer.headers.get(PAGE_HEADER)
            if name and name not in self.pages:
                self.pages[name] = answer.text
            if name and "install" in name:
                self.progress.append(httpx.get(f"{url}/progress.json", timeout=10).json())
            return str(name or f"status {answer.status_code}")
        except httpx.ConnectError:
            return "refused"
        except (httpx.TransportError, json.JSONDecodeError):
            return "gone"


class Installed(NamedTuple):
    """A finished installation: its disk, what it printed, and what a visitor saw meanwhile."""

    disk: Path
    output: str
    visitor: Visitor
    before: set[str]


def ready(url: str = API, seconds: float = READY_S) -> None:
    """Return when the model answers."""
    wait_for(f"{url}/health", seconds)


def wait_for(url: str, seconds: float = READY_S) -> None:
    """Return when ``url`` answers with 200."""

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url, timeout=10).status_code == 200
        return False

    wait_until(answers, seconds, lambda: url)


def main_pid(machine: Box, name: str) -> int:
    """The service's first process, by its PID in ``machine``."""
    return int(machine.text(f"systemctl show -p MainPID --value ai-sandbox-{name}"))


def both_ready() -> None:
    """Return when the model and Open WebUI answer."""
    ready()
    wait_for(f"{PAGE}/health")


@contextlib.contextmanager
def settings(machine: Box, *lines: str) -> Iterator[None]:
    """The env file ends with ``lines``; afterwards all is as it was, and both services answer.

    The services that have read the file meanwhile are restarted at the end, and no others.
    """
    files = [machine.root / name.lstrip("/") for name in (ENV_FILE, "/etc/motd")]
    kept = [(file, file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    before = {name: last_change(machine, name) for name in SERVICES}
    try:
        with files[0].open("a") as stream:
            stream.write("".join(f"{line}\n" for line in lines))
        yield
    finally:
        for file, content, time_ns in kept:
            # In place: owner and mode stay.
            file.write_bytes(content)
            os.utime(file, ns=(time_ns, time_ns))
        stale = [name for name in SERVICES if last_change(machine, name) != before[name]]
        if stale:
            machine.run(f"systemctl reset-failed {' '.join(stale)}", check=False)
            machine.run(f"systemctl restart {' '.join(stale)}", seconds=120)
        both_ready()


def last_change(machine: Box, name: str) -> str:
    """When the unit ``name`` was last started, reloaded or stopped, or ended by itself."""
    return machine.text(f"systemctl show -p StateChangeTimestampMonotonic --value {name}")


def files_of(machine: Box) -> set[str]:
    """The paths of the machine's files, but for what changes by itself and what is data."""
    skip = "-path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp"
    skip += " -o -path ./var/tmp"
    skip += " -o -path ./var/log -o -path ./var/cache -o -path ./var/lib/apt"
    skip += f" -o -path .{SOURCE}"
    skip += " -o -path ./var/lib/systemd -o -path ./opt/models -o -path ./opt/open-webui"
    found = machine.run(f"cd / && find . \\( {skip} \\) -prune -o -print", seconds=120).stdout
    return set(found.splitlines())


@pytest.fixture(scope="session", autouse=True)
def umask() -> Iterator[None]:
    """A machine's folders are as a distribution makes them, whoever runs the tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def installation() -> Iterator[Installed]:
    """stackscript.sh on a minimal Debian, from the first second to the end."""
    with box() as machine:
        machine.add_source()
        machine.share_package_cache()
        machine.boot()
        before = files_of(machine)
        visitor = Visitor()
        with visitor.looking():
            done = machine.stackscript(INSTALL_S, check=False, MODEL_ID="builtin:guide")
        assert done.returncode == 0, done.stdout[-6000:]
        machine.power_off()
        yield Installed(machine.root, done.stdout, visitor, before)


@pytest.fixture(scope="session")
def running(installation: Installed) -> Iterator[Box]:
    """An installed machine after a boot; each test leaves it with both services ready."""
    with fork(installation.disk) as machine:
        machine.boot()
        both_ready()
        yield machine


@pytest.fixture
def installed(running: Box) -> Box:
    """The machine of ``running``, healthy."""
    running.boot()
    both_ready()
    return running
