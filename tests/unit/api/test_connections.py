"""Connections that say nothing, or much too slowly, or are too many."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from sandbox.api.connections import MAX_HEAD_BYTES, Crowd, limited
from sandbox.engine.streaming import SEND_NOW

REQUEST = b"GET / HTTP/1.1\r\nHost: box\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    if scope["path"] == "/stream":
        await stream(scope, send)
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body", "body": b""})


async def stream(scope: Scope, send: Send) -> None:
    """Parts that are sent at once, until the client would have to read; their number is last."""
    extensions: dict[str, Any] = scope["extensions"] or {}
    send_now = extensions[SEND_NOW]
    assert not send_now.ready()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first,", "more_body": True})
    parts = 0
    while parts < 10_000 and send_now.ready():
        send_now.send(b"x" * 10_000)
        parts += 1
    await send({"type": "http.response.body", "body": b",%d" % parts, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    assert not send_now.ready()


@contextlib.asynccontextmanager
async def serving(most: int = 100, head_seconds: float = 0.1) -> AsyncIterator[int]:
    """The port of a real server with these limits."""
    listener = socket.create_server(("127.0.0.1", 0))
    kind = limited(Crowd(most), head_seconds)
    config = uvicorn.Config(app, http=kind, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def exchange(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """All that the server answers to ``parts`` until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
    await _close(writer)
    return answer


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _ask(*parts: bytes, pause: float = 0.0) -> bytes:
    async with serving() as port:
        return await exchange(port, *parts, pause=pause)


def test_parts_are_sent_at_once_until_the_client_has_to_read() -> None:
    asked = b"GET /stream HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n"
    _, _, body = asyncio.run(_ask(asked, pause=0.1)).partition(b"\r\n\r\n")
    sizes, parts = [], []
    while body:
        size, _, body = body.partition(b"\r\n")
        sizes.append(int(size, 16))
        parts.append(body[: sizes[-1]])
        body = body[sizes[-1] + 2 :]
    assert parts[0] == b"first,"
    number = int(parts[-2].removeprefix(b","))
    assert 0 < number < 10_000
    assert sizes == [6, *[10_000] * number, len(parts[-2]), 0]


def test_a_silent_connection_is_closed() -> None:
    assert asyncio.run(_ask()) == b""


def test_half_a_head_gets_408() -> None:
    assert asyncio.run(_ask(b"GET / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408 ")


def test_a_head_in_drops_does_not_buy_time() -> None:
    drops = [b"GET / HTTP/1.1\r\n", *[b"a: b\r\n"] * 50]
    answer = asyncio.run(_ask(*drops, pause=0.02))
    # Drops that still came after the answer reset the connection.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_an_endless_head_is_cut_off() -> None:
    head = [b"GET / HTTP/1.1\r\n", *[b"a: " + b"b" * 10_000 + b"\r\n"] * 20]
    assert len(b"".join(head)) > MAX_HEAD_BYTES
    answer = asyncio.run(_ask(*head))
    assert not answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("rest", [b"", b"\r\n", b"GET / HT"])
def test_after_an_answer_the_same_holds_for_the_next_request(rest: bytes) -> None:
    assert asyncio.run(_ask(REQUEST, rest, pause=0.05)).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_takes_longer_is_not_cut() -> None:
    slow = REQUEST.replace(b"GET /", b"GET /slow")
    answer = asyncio.run(_ask(slow, b"GET / HT", pause=0.05))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_too_many_are_told_so_and_the_others_stay() -> None:
    async def check() -> None:
        async with serving(most=3, head_seconds=30) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            refused = await exchange(port, REQUEST)
            # The refusal may be reset by what was still to come.
            assert refused == b"" or refused.startswith(b"HTTP/1.1 503 ")
            reader, writer = held[0]
            writer.write(REQUEST)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            for _, other in held:
                await _close(other)

    asyncio.run(check())


def test_one_address_has_half_and_this_machine_all() -> None:
    crowd = Crowd(4)
    assert [crowd.enter("192.0.2.7") for _ in range(3)] == [True, True, False]
    crowd.leave("192.0.2.7")
    assert crowd.enter("192.0.2.7")
    assert [crowd.enter("127.0.0.1") for _ in range(3)] == [True, True, False]


def test_the_body_of_a_request_that_was_answered_already_is_let_through() -> None:
    body = b"x" * (3 * MAX_HEAD_BYTES)
    head = b"POST / HTTP/1.1\r\nHost: box\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = asyncio.run(_ask(head, body, REQUEST, pause=0.02))
    assert answer.count(b"HTTP/1.1 200 ") == 2
