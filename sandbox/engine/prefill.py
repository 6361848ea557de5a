"""The wait for the first result of a stream, during which the client hears that it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.types import Send

# Proxies and clients give up on a silent connection after 30 s at the least.
KEEP_ALIVE_SECONDS = 15.0
# As vLLM writes it; clients of server-sent events skip what begins with a colon.
COMMENT = b": keep-alive\n\n"


class Kept:
    """``results`` with a comment sent every 15 s until the first of them: a timer, and no task.

    After the first one ``next`` is the results' own.
    """

    def __init__(self, results: AsyncIterator[Any], send: Send) -> None:
        self._results = results
        self._send = send
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self.next: Callable[[], Awaitable[Any]] = self._first

    def __aiter__(self) -> Kept:
        return self

    async def __anext__(self) -> Any:
        return await self.next()

    async def _first(self) -> Any:
        self._remind_later()
        self.next = self._results.__anext__
        try:
            return await self._results.__anext__()
        finally:
            if self._timer:
                self._timer.cancel()
                self._timer = None

    def _remind_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(KEEP_ALIVE_SECONDS, self._remind)

    def _remind(self) -> None:
        message = {"type": "http.response.body", "body": COMMENT, "more_body": True}
        task = asyncio.get_running_loop().create_task(_quietly(self._send(message)))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        self._remind_later()


async def _quietly(sent: Awaitable[None]) -> None:
    """Wait for ``sent``; that the client has gone is noticed by who answers it."""
    try:
        await sent
    except OSError:
        return
