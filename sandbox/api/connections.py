"""One connection of the API's port: how many there may be, and how long a request may take to come.

Uvicorn has no such limits: its time-out begins with the end of a first answer.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sandbox.engine.streaming import SEND_NOW

# Seconds for the head of a request, from the connection or from its first byte on.
HEAD_SECONDS = 15.0
# What the head of a request may be long; nothing else bounds it.
MAX_HEAD_BYTES = 64 * 1024
# Seconds that a connection is kept for a next request. HTTP libraries drop theirs sooner; with
# uvicorn's 5 s, which is httpx's time as well, requests went into connections that were closing.
IDLE_SECONDS = 75
LOCAL = ("127.0.0.1", "::1")

# Files and sockets of the process besides its connections.
_OTHER_DESCRIPTORS = 512

_ANSWERS = {
    408: b"HTTP/1.1 408 Request Timeout\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n",
}


def ensure_descriptors(connections: int) -> int:
    """Have the system allow that many; how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(connections, max(16, soft - _OTHER_DESCRIPTORS))


class Crowd:
    """The connections that are open; an address may have half of them, this machine all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_address: Counter[str] = Counter()
        self._all = 0

    def enter(self, address: str) -> bool:
        """Count a connection from ``address``; False, without counting it, when it is too many."""
        full = self._all >= self._most
        greedy = address not in LOCAL and self._by_address[address] >= self._most // 2
        if full or greedy:
            return False
        self._all += 1
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A counted connection from ``address`` has ended."""
        self._all -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, refused when there are too many and closed when it is slow."""

    def __init__(self, crowd: Crowd, head_seconds: float, **given: Any) -> None:
        super().__init__(**given)
        self._crowd = crowd
        self._head_seconds = head_seconds
        self._counted: str | None = None
        self._head_bytes = 0
        self._in_head = False
        self._in_body = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if self._crowd.enter(address):
            self._counted = address
            self._wait()
        else:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()
        if self._counted is not None:
            self._crowd.leave(self._counted)
            self._counted = None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head or self._is_idle():
            # The rest of a body whose request was answered already is read, and dropped.
            self._head_bytes += 0 if self._in_body else len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431)
            elif self._patience is None:
                self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body = True
        self._head_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()
        if self.cycle is not None:
            # The type of ASGI's extensions has dictionaries only.
            extensions: dict[str, Any] = {SEND_NOW: Parts(self.flow, self.cycle)}
            self.scope["extensions"] = extensions

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._patience = self.loop.call_later(self._head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if self._is_idle():
            self._refuse(408)
        else:
            # Of the next request while one is being answered: that must not be cut.
            self._wait()

    def _refuse(self, status: int) -> None:
        """Close; with an answer to who has not got one yet."""
        if not self.transport.is_closing():
            if self.cycle is None and (self._in_head or status == 503):
                self.transport.write(
                    _ANSWERS[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
                )
            self.transport.close()


class Parts:
    """Sends parts of the body of a stream: a ``SendNow``."""

    def __init__(self, flow: FlowControl, cycle: RequestResponseCycle) -> None:
        self._flow = flow
        self._cycle = cycle
        self._write = cycle.transport.write

    def ready(self) -> bool:
        """True once the head of the answer is sent, until its end, while the client reads."""
        cycle = self._cycle
        begun = cycle.response_started and not cycle.response_complete and cycle.chunked_encoding
        return bool(begun) and not (self._flow.write_paused or cycle.disconnected)

    def send(self, body: bytes) -> None:
        """Send a part; only when ``ready``."""
        self._write(b"%x\r\n%b\r\n" % (len(body), body))


def limited(crowd: Crowd, head_seconds: float = HEAD_SECONDS) -> type[Connection]:
    """What uvicorn makes a connection of."""

    class Limited(Connection):
        def __init__(self, **given: Any) -> None:
            super().__init__(crowd, head_seconds, **given)

    return Limited
