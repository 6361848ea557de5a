"""How a request gets to vLLM: its body whole and of a fair size, and when it is its turn."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive, Scope, Send

from sandbox.api import grammars, limits
from sandbox.api.access import CHAT_PAGE, KeyCheck
from sandbox.api.errors import error_response
from sandbox.api.fairness import Gate, Room, Turn
from sandbox.asgi import replayed
from sandbox.settings import Settings

# Until an engine says how many requests it works on at once.
_PLACES = 256
_RETRY_SECONDS = 5


class Admission:
    """Admits requests one by one; what it refuses it answers itself."""

    def __init__(self, settings: Settings, keys: KeyCheck) -> None:
        self._keys = keys
        self._most_bytes = settings.max_body_mb * 2**20
        self._share = settings.max_requests_per_client
        # A body of the largest size has room, whatever the settings say.
        most = max(settings.max_queued_mb, 2 * settings.max_body_mb)
        self._room = Room(most * 2**20)
        self._gate = Gate(_PLACES, _PLACES, settings.max_queued_requests)
        self.set_places(_PLACES)

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self._gate.waiting

    def set_places(self, places: int) -> None:
        """Let ``places`` requests in at once: as many as the engine works on together."""
        # A quarter is kept for who comes later: a request may hold its place for minutes.
        share = max(1, places * 3 // 4) if self._share == "auto" else self._share
        if (places, share) != (self._gate.places, self._gate.share):
            self._gate.places, self._gate.share = places, share
            self._gate.hand_out()

    @asynccontextmanager
    async def place(
        self, scope: Scope, receive: Receive, send: Send
    ) -> AsyncIterator[tuple[Receive, Send]]:
        """A place for the request; within it, the ``receive`` and the ``send`` to go on with.

        Raises ``NotAdmittedError`` when the request was answered here, or its client has gone.
        """
        client, many = self._client(scope)
        try:
            with self._room_for(client) as hold:
                body = await limits.whole_body(scope, receive, self._most_bytes, hold)
                if body is None:
                    raise NotAdmittedError
                limits.check_cost(body)
                turn = self._gate.enter(client, many=many)
                if turn:
                    await self._wait(client, turn, receive)
        except limits.Refused as refused:
            busy = refused.status == 503
            answer = error_response(
                scope["path"],
                refused.status,
                refused.message,
                retry_after=_RETRY_SECONDS if busy else None,
            )
            # What is still to come of the body is not read.
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            raise NotAdmittedError from None
        except asyncio.QueueFull:
            message = f"Too many requests wait ({self._gate.waiting}). Try again in a few seconds."
            answer = error_response(scope["path"], 503, message, retry_after=_RETRY_SECONDS)
            await answer(scope, receive, send)
            raise NotAdmittedError from None
        try:
            yield replayed(body, receive), grammars.explained(scope, body, send)
        finally:
            self._gate.leave(client)

    @contextlib.contextmanager
    def _room_for(self, client: str) -> Iterator[Callable[[int], None]]:
        """Room for a body of ``client`` until it has its turn."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if not self._room.take(client, size):
                raise limits.Refused(
                    503, "Too much is on its way in (MAX_QUEUED_MB). Try again in a few seconds."
                )
            held += size

        try:
            yield hold
        finally:
            self._room.give_back(client, held)

    async def _wait(self, client: str, turn: Turn, receive: Receive) -> None:
        # Only the end of the connection can come now.
        gone = asyncio.ensure_future(receive())
        try:
            first: set[asyncio.Future[Any]] = {turn, gone}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._withdraw(client, turn)
            raise
        finally:
            has_gone = gone.done()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
        if has_gone:
            self._withdraw(client, turn)
            raise NotAdmittedError

    def _withdraw(self, client: str, turn: Turn) -> None:
        if not turn.cancel():
            self._gate.leave(client)

    def _client(self, scope: Scope) -> tuple[str, bool]:
        """Who asks, and whether that may be many people."""
        if self._keys.needed:
            holder = self._keys.holder(scope) or ""
            return f"key {holder}", holder == CHAT_PAGE
        address = client_address(scope)
        return address, ipaddress.ip_address(address).is_loopback


class NotAdmittedError(Exception):
    """The request needs nothing more: it was answered, or nobody waits for an answer."""


def client_address(scope: Scope) -> str:
    """The address that ``scope`` came from; of IPv6 the network, which one client has."""
    host = scope["client"][0] if scope.get("client") else "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "127.0.0.1"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        if not address.is_loopback:
            return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)
