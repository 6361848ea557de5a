"""The small server: what it answers, what it refuses, and that it lets go of its port."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from sandbox.host import small_server
from sandbox.host.processes import die_with_parent
from sandbox.host.small_server import CONNECTIONS, HEAD_BYTES, Request

PROGRAM = """
import socket
from sandbox.host import small_server
listener = socket.create_server(("127.0.0.1", 0), backlog=200)
print(listener.getsockname()[1], flush=True)
small_server.serve(listener, lambda request: small_server.json_answer(200, request._asdict()))
"""


class Server(NamedTuple):
    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@pytest.fixture
def server() -> Iterator[Server]:
    """It says what it was asked."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    ) as process:
        assert process.stdout
        try:
            yield Server(process, int(process.stdout.readline()))
        finally:
            process.kill()


def say(server: Server, request: bytes) -> bytes:
    """All that comes back."""
    with server.connect() as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_path_is_given_without_the_query(server: Server) -> None:
    asked = httpx.get(f"{server.url}/v1/models?limit=1", headers={"X-Mine": "yes"}).json()
    assert asked["method"] == "GET"
    assert asked["path"] == "/v1/models"
    assert asked["headers"]["x-mine"] == "yes"


def test_head_gets_the_same_headers_and_no_body(server: Server) -> None:
    answer = say(server, b"HEAD / HTTP/1.1\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    length = len(json.dumps(Request("HEAD", "/", {"": ""})._asdict()))
    assert f"Content-Length: {length}".encode() in head
    assert body == b""


def test_a_long_body_does_not_keep_its_sender_from_the_answer(server: Server) -> None:
    answer = httpx.post(server.url, content=b"x" * 4_000_000)
    assert answer.json()["method"] == "POST"


def test_what_is_no_http_gets_400(server: Server) -> None:
    assert say(server, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_headers_without_end_get_431(server: Server) -> None:
    request = b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * HEAD_BYTES
    assert say(server, request).startswith(b"HTTP/1.1 431 ")


def test_a_browser_that_tries_https_is_told_no_at_once(server: Server) -> None:
    assert say(server, b"\x16\x03\x01\x02\x00\x01\x00") == b""


def test_a_client_that_says_nothing_keeps_nobody_waiting(server: Server) -> None:
    with server.connect():
        assert httpx.get(server.url).status_code == 200


def test_one_connection_too_many_waits_for_its_turn(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(CONNECTIONS)]
        late = stack.enter_context(server.connect())
        late.sendall(b"GET /late HTTP/1.1\r\n\r\n")
        silent[0].close()
        assert late.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_sigterm_ends_it_and_frees_the_port_though_a_client_is_connected(server: Server) -> None:
    with server.connect():
        httpx.get(server.url)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        socket.create_server(("127.0.0.1", server.port)).close()


@pytest.mark.parametrize(
    ("method", "path", "accept", "expected"),
    [
        ("GET", "/", "text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("HEAD", "/", "*/*", True),
        ("GET", "/", "", True),
        ("GET", "/c/some-chat", "text/html", True),
        ("GET", "/", "application/json", False),
        ("GET", "/c/some-chat", "*/*", False),
        ("GET", "/v1/models", "text/html", False),
        ("GET", "/health", "text/html", False),
        ("GET", "/status/events", "text/html", False),
        ("GET", "/healthy", "text/html", True),
        ("POST", "/", "text/html", False),
    ],
)
def test_a_page_is_for_browsers(method: str, path: str, accept: str, expected: bool) -> None:
    headers = {"accept": accept} if accept else {}
    assert small_server.is_for_people(Request(method, path, headers)) is expected


def test_a_page_that_stands_in_for_another_says_so() -> None:
    at_home = small_server.page("name", "<p>", Request("GET", "/", {}), 5)
    elsewhere = small_server.page("name", "<p>", Request("GET", "/c/1", {}), 5)
    assert (at_home.status, elsewhere.status) == (200, 503)
    assert elsewhere.headers["Retry-After"] == "5"
