"""Starts the real chat page (`ai-sandbox ui`) and a stand-in for the API, and ends them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.host.processes import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
# Only against a hang.
PATIENCE_S = 240


@dataclass(frozen=True)
class ApiStandIn:
    """A running ``tests.standins.openai_backend``."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self) -> list[dict[str, Any]]:
        """The requests it got, oldest first."""
        listed: list[dict[str, Any]] = httpx.get(f"{self.url}/seen").json()
        return listed

    def be_loading(self, message: str) -> None:
        """From now on chats fail with 503 and ``message``; an empty one ends that."""
        httpx.put(f"{self.url}/loading", content=message).raise_for_status()


@dataclass(frozen=True)
class ChatPage:
    """A running Open WebUI."""

    url: str
    process: subprocess.Popen[bytes]
    data: Path
    log: Path

    @contextmanager
    def sign_in(self, email: str = "", password: str = "") -> Iterator[httpx.Client]:
        """A client with a session, as the page makes one; raises when it is refused."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            form = {"email": email, "password": password}
            answer = client.post("/api/v1/auths/signin", json=form)
            answer.raise_for_status()
            client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            yield client


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_ui(settings: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start `ai-sandbox ui` with only ``settings`` and no env file's."""
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-m", "sandbox.cli", "ui", "--env-file", os.devnull]
    # So that nothing is left when the test run itself is killed.
    options = {"preexec_fn": die_with_parent, **options}
    return subprocess.Popen(command, env=own | settings, cwd=ROOT, **options)


@contextmanager
def api_stand_in(model: str, **options: str) -> Iterator[ApiStandIn]:
    """A stand-in that serves ``model``; ``options`` are its options without the dashes."""
    command = [sys.executable, "-m", "tests.standins.openai_backend", "--model", model]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent
    ) as process:
        assert process.stdout
        try:
            yield ApiStandIn(int(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def chat_page(data: Path, log: Path, **settings: str) -> Iterator[ChatPage]:
    """Open WebUI through our launch on a free port, ready to be used."""
    port = settings.setdefault("UI_PORT", str(free_port()))
    settings = {"UI_HOST": "127.0.0.1", "UI_DATA_DIR": str(data), **settings}
    with log.open("ab") as output:
        process = run_ui(settings, stdout=output, stderr=output)
    page = ChatPage(f"http://127.0.0.1:{port}", process, data, log)
    try:
        _wait_until_ready(page)
        yield page
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(page: ChatPage) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if page.process.poll() is not None:
            break
        try:
            if httpx.get(f"{page.url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"Open WebUI did not start:\n{page.log.read_text()[-3000:]}")
