"""Send many requests to an OpenAI-compatible API at once, and note when the parts of answers came.

It must cost much less than what it measures, on the same two cores: it reads no JSON, and does
nothing for a piece of an answer but to count its events and look at the clock.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

_END_OF_CHUNKS = b"0\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
# The first text of a stream; the chunk before it has an empty one.
_TEXT = re.compile(rb'"(?:content|text|reasoning)":"[^"]')
_EVENT = b"data: {"


@dataclass(frozen=True)
class Target:
    """Where the requests go."""

    host: str
    port: int
    key: str = ""
    path: str = "/v1/chat/completions"

    def request(self, body: dict[str, Any]) -> bytes:
        """The bytes of a request with ``body``."""
        content = json.dumps(body).encode()
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


@dataclass
class Answer:
    """When the parts of one answer came, in seconds of ``time.perf_counter``."""

    asked: float
    status: int = 0
    # The first text of the model; None when there was none, or none of a stream.
    first_text: float | None = None
    ended: float = 0.0
    # (when, how many events) of each piece of a stream that came with or after the first text.
    pieces: list[tuple[float, int]] = field(default_factory=list)
    # The beginning of the answer, for people when it is an error.
    head: bytes = b""

    @property
    def good(self) -> bool:
        """True for a whole answer without an error."""
        return self.status == 200 and self.ended > 0


class _Connection(asyncio.Protocol):
    """One connection, for one request after another."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._answer: Answer | None = None
        self._done: asyncio.Future[Answer]
        self._tail = b""
        self._left: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, request: bytes) -> Answer:
        """The answer to ``request``, with status 0 when the connection broke."""
        self._done = asyncio.get_running_loop().create_future()
        self._tail, self._left = b"", None
        self._answer = Answer(time.perf_counter())
        if self.is_closed:
            return self._answer
        self._transport.write(request)
        return await self._done

    @property
    def is_closed(self) -> bool:
        """True when it can carry no more requests."""
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        answer = self._answer
        if answer is None:
            return
        if answer.first_text is not None:
            answer.pieces.append((now, data.count(_EVENT)))
        else:
            self._take_beginning(answer, now, data)
        if self._left is not None:
            self._left -= len(data)
            ended = self._left <= 0
        else:
            self._tail = self._tail[-4:] + data[-5:]
            ended = self._tail.endswith(_END_OF_CHUNKS)
        if ended:
            answer.ended = now
            self._finish()

    def _take_beginning(self, answer: Answer, now: float, data: bytes) -> None:
        fresh = not answer.head
        answer.head += data
        if fresh:
            answer.status = int(data[9:12])
            head, _, _ = data.partition(b"\r\n\r\n")
            if length := _LENGTH.search(head):
                self._left = len(head) + 4 + int(length[1])
        if self._left is None and (text := _TEXT.search(answer.head)):
            answer.first_text = now
            # A server that is short of processors sends a whole answer at once.
            if more := answer.head.count(_EVENT, text.end()):
                answer.pieces.append((now, more))

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._answer and not self._done.done():
            self._done.set_result(self._answer)
        self._answer = None


async def connect(target: Target, count: int) -> list[_Connection]:
    """So many connections to ``target``."""
    loop = asyncio.get_running_loop()
    made = [loop.create_connection(_Connection, target.host, target.port) for _ in range(count)]
    return [protocol for _, protocol in await asyncio.gather(*made)]


async def together(target: Target, bodies: Sequence[dict[str, Any]], at_once: int) -> list[Answer]:
    """Ask ``bodies``, ``at_once`` at a time: the next one as soon as one has its answer."""
    waiting = [target.request(body) for body in reversed(bodies)]
    answers: list[Answer] = []

    async def ask(connection: _Connection) -> None:
        while waiting:
            answers.append(await connection.ask(waiting.pop()))

    connections = await connect(target, min(at_once, len(bodies)))
    await asyncio.gather(*map(ask, connections))
    for connection in connections:
        connection.close()
    return answers


async def lasting(
    target: Target, bodies: Iterator[dict[str, Any]], at_once: int, seconds: float
) -> list[Answer]:
    """Ask ``bodies``, ``at_once`` at a time, for ``seconds``; what was asked by then is read."""
    over = time.perf_counter() + seconds
    answers: list[Answer] = []

    async def ask(connection: _Connection) -> None:
        while time.perf_counter() < over:
            answers.append(await connection.ask(target.request(next(bodies))))
            if not answers[-1].good:
                # Refused at once: asking on would be a flood.
                return

    connections = await connect(target, at_once)
    await asyncio.gather(*map(ask, connections))
    for connection in connections:
        connection.close()
    return answers


async def arriving(
    target: Target, bodies: Sequence[dict[str, Any]], per_second: float, seed: int = 0
) -> list[Answer]:
    """Ask ``bodies`` at random moments, so many a second on average, whatever the answers do."""
    chance = random.Random(seed)
    free: list[_Connection] = await connect(target, 8)

    async def ask(request: bytes) -> Answer:
        # A server ends a connection on which nothing was asked for some seconds.
        while free and free[-1].is_closed:
            free.pop()
        connection = free.pop() if free else (await connect(target, 1))[0]
        answer = await connection.ask(request)
        free.append(connection)
        return answer

    asking: list[asyncio.Task[Answer]] = []
    begun = due = time.perf_counter()
    for body in bodies:
        due += chance.expovariate(per_second)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asking.append(asyncio.create_task(ask(target.request(body))))
    assert due >= begun
    answers = await asyncio.gather(*asking)
    for connection in free:
        connection.close()
    return answers
