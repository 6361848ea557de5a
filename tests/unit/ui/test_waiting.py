"""The waiting page and its hand-over: two processes, one socket, no connection lost."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from sandbox.host import ports
from sandbox.ui import waiting

START_AND_WAIT = """
import socket, time
from sandbox.ui import waiting
listener = socket.create_server(("127.0.0.1", 0))
page = waiting.start(listener)
print(page.process.pid, listener.getsockname()[1], flush=True)
time.sleep(1000)
"""


@dataclass
class Started:
    listener: socket.socket
    page: waiting.Waiting
    is_held: bool = True

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.getsockname()
        return host, port

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def let_go(self) -> None:
        os.close(self.page.hold)
        self.is_held = False


@pytest.fixture
def started() -> Iterator[Started]:
    with ports.bind("127.0.0.1", 0, "UI_PORT") as listener:
        listener.listen()
        it = Started(listener, waiting.start(listener))
        yield it
        if it.is_held:
            it.page.end()
        it.page.process.wait(30)


def test_people_get_a_page_at_every_address(started: Started) -> None:
    for path, status in (("/", 200), ("/c/some-chat", 503)):
        answer = httpx.get(f"{started.url}{path}", headers={"Accept": "text/html"}, timeout=30)
        assert answer.status_code == status
        assert "The chat page is starting" in answer.text


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/models", "/ws/socket.io/"])
def test_programs_get_503_with_when_to_come_back(started: Started, path: str) -> None:
    answer = httpx.get(f"{started.url}{path}", timeout=30)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["error"]["message"] == waiting.MESSAGE


def test_it_ends_when_it_is_not_held_any_more(started: Started) -> None:
    started.let_go()
    assert started.page.process.wait(30) == 0


def test_what_connects_after_its_end_waits_for_the_next_server(started: Started) -> None:
    httpx.get(started.url, timeout=30)
    started.let_go()
    started.page.process.wait(30)
    with socket.create_connection(started.address, timeout=10) as client:
        client.sendall(b"for the next")
        connection, _ = started.listener.accept()
        with connection:
            assert connection.recv(100) == b"for the next"


def test_who_was_connected_before_still_gets_an_answer(started: Started) -> None:
    with socket.create_connection(started.address, timeout=30) as early:
        # Its answer tells that the connection before it was taken too.
        httpx.get(started.url, timeout=30)
        started.let_go()
        early.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert early.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_it_does_not_outlive_who_started_it_even_when_it_is_stopped() -> None:
    command = [sys.executable, "-c", START_AND_WAIT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        pid, port = map(int, starter.stdout.readline().split())
        watched = os.pidfd_open(pid)
        httpx.get(f"http://127.0.0.1:{port}/", timeout=30)
        os.kill(pid, signal.SIGSTOP)
        starter.kill()
    assert select.select([watched], [], [], 30)[0]
    os.close(watched)
    ports.check_port_free("127.0.0.1", port, "UI_PORT")
