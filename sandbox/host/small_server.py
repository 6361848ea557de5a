"""A small HTTP server that holds a port, with a page for people, until the port's service answers.

Only the standard library, and no newer syntax than Python 3.9's: the installation's page is served
by whatever python3 a fresh machine has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

# A browser's request line, headers and cookies are a few KiB.
HEAD_BYTES = 16 * 1024
# Read and thrown away: of a request that is not read to its end the client may see no answer.
BODY_BYTES = 8 * 1024 * 1024
# From the first byte to the last of one connection.
CONNECTION_S = 10.0
LINGER_S = 2.0
# More wait in the kernel's queue.
CONNECTIONS = 64
# What programs ask, even when the Accept header is a browser's.
API_PATHS = ("/v1", "/api", "/health", "/livez", "/ready", "/status", "/metrics")
# Names the page that is served, so that a page sees when another server has taken its port.
PAGE_HEADER = "AI-Sandbox-Page"
# A page is one file: it loads nothing from anywhere and asks only its own server.
CONTENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Request(NamedTuple):
    """What a client asks; ``path`` is without the query, the headers' names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """What it gets."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}


def serve(
    listener: socket.socket,
    answer: Callable[[Request], Answer],
    until_readable: int | None = None,
    finish_s: float = 1.0,
) -> None:
    """Answer on ``listener``, which listens already, until SIGTERM or SIGINT.

    It also ends when the file descriptor ``until_readable`` can be read or is at its end. Then no
    connection is taken from the queue any more, so that another process can go on with the same
    socket, and those that were taken have ``finish_s`` seconds. Each carries one request, and no
    request waits for another.
    """
    asyncio.run(_Server(listener, answer).run(until_readable, finish_s))


def is_for_people(request: Request) -> bool:
    """True when a person's browser asks for a page; false for programs and for other methods."""
    if request.method not in ("GET", "HEAD"):
        return False
    if any(request.path == path or request.path.startswith(path + "/") for path in API_PATHS):
        return False
    accept = request.headers.get("accept", "")
    return "text/html" in accept or (request.path == "/" and "application/json" not in accept)


def page(name: str, html: str, request: Request, retry_after_s: int) -> Answer:
    """The page ``name``; at any address but ``/`` it stands in for another, and says so: 503."""
    headers = {PAGE_HEADER: name, "Content-Security-Policy": CONTENT_POLICY}
    content_type, body = "text/html; charset=utf-8", html.encode()
    if request.path == "/":
        return Answer(200, content_type, body, headers)
    return Answer(503, content_type, body, {**headers, "Retry-After": str(retry_after_s)})


def json_answer(status: int, content: object, headers: Mapping[str, str] = {}) -> Answer:
    """``content`` as JSON."""
    return Answer(status, "application/json", json.dumps(content).encode(), headers)


def unavailable(message: str, retry_after_s: int) -> Answer:
    """503 in the shape of OpenAI's errors, whose message clients show to people."""
    return _error(503, message, "service_unavailable", {"Retry-After": str(retry_after_s)})


class _Server:
    def __init__(self, listener: socket.socket, answer: Callable[[Request], Answer]) -> None:
        self._listener = listener
        self._answer = answer
        self._running: set[asyncio.Task[None]] = set()
        self._is_accepting = False

    async def run(self, until_readable: int | None, finish_s: float) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        if until_readable is not None:
            loop.add_reader(until_readable, stopped.set)
        self._listener.setblocking(False)
        self._accept_more(True)
        await stopped.wait()
        self._accept_more(False)
        # Before the wait below: the next process can bind the port now.
        self._listener.close()
        if until_readable is not None:
            loop.remove_reader(until_readable)
        if self._running:
            await asyncio.wait(self._running, timeout=finish_s)

    def _accept_more(self, wanted: bool) -> None:
        # Not loop.sock_accept: a cancelled one may already have taken a connection, and lose it.
        self._is_accepting = wanted
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_reader(self._listener, self._accept)
        else:
            loop.remove_reader(self._listener)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # Another process took it, or it is gone.
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._converse(connection))
        self._running.add(task)
        task.add_done_callback(self._ended)
        if len(self._running) >= CONNECTIONS:
            asyncio.get_running_loop().remove_reader(self._listener)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._is_accepting:
            self._accept_more(True)

    async def _converse(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_BYTES)
        # What ends a connection early is the client's matter.
        with contextlib.suppress(OSError, EOFError, asyncio.TimeoutError):
            await asyncio.wait_for(self._exchange(reader, writer), CONNECTION_S)
            await asyncio.wait_for(_linger(reader, writer), LINGER_S)
        writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == b"\x16":
            # TLS: browsers try https first, and take a closed connection for a no.
            return
        request = None
        try:
            request = _parse(first + await reader.readuntil(b"\r\n\r\n"))
            answer = self._answer(request) if request else _error(400, "This is no HTTP request.")
        except asyncio.LimitOverrunError:
            answer = _error(431, f"The request's headers are longer than {HEAD_BYTES} bytes.")
        writer.write(_head(answer))
        if not request or request.method != "HEAD":
            writer.write(answer.body)
        await writer.drain()


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    left = BODY_BYTES
    while left > 0:
        read = await reader.read(64 * 1024)
        if not read:
            return
        left -= len(read)


def _parse(head: bytes) -> Request | None:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(words[0], words[1].partition("?")[0], headers)


def _error(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    headers: Mapping[str, str] = {},
) -> Answer:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return json_answer(status, {"error": error}, headers)


def _head(answer: Answer) -> bytes:
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        # The next answer at this address may be another server's.
        "Cache-Control": "no-store",
        "Connection": "close",
        "X-Content-Type-Options": "nosniff",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
