"""Whose request is next and whose may wait: each client has its turn, whatever another sends."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque

Turn = asyncio.Future[None]


class Room:
    """Bytes that are held for clients, ``most`` at a time.

    One client alone can fill half of them, two a third each, and so on: there is always room for
    another one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self._total = 0

    def take(self, client: str, size: int) -> bool:
        """Hold ``size`` more for ``client``; False, without doing so, when there is no room."""
        if self._held[client] + size > self._most - self._total:
            return False
        self._held[client] += size
        self._total += size
        return True

    def give_back(self, client: str, size: int) -> None:
        """What was taken is held no more."""
        self._total -= size
        self._held[client] -= size
        if not self._held[client]:
            del self._held[client]


class Gate:
    """Lets ``places`` requests in at a time, of one client at most ``share`` of them.

    ``room`` requests may wait. A free place goes to who has the fewest requests inside; of those
    to who waits longest for one.
    """

    def __init__(self, places: int, share: int, room: int) -> None:
        self.places = places
        self.share = share
        self.room = room
        self.waiting = 0
        self._inside: Counter[str] = Counter()
        self._total = 0
        # In the order in which clients got a place last.
        self._queues: OrderedDict[str, deque[Turn]] = OrderedDict()
        # Clients that stand for many people, and may have all places.
        self._many: set[str] = set()

    def enter(self, client: str, *, many: bool = False) -> Turn | None:
        """A place for one request of ``client``: at once (None), or when the turn is done.

        Who gives up waiting cancels the turn; for every place ``leave`` is called once. Raises
        ``asyncio.QueueFull`` when too many requests wait.
        """
        if many:
            self._many.add(client)
        if client not in self._queues and self._is_free(client):
            self._take(client)
            return None
        queue = self._queues.get(client, deque())
        # One client alone can fill half of the room, two a third each, and so on: there is always
        # room for another one.
        if len(queue) >= self.room - self.waiting:
            raise asyncio.QueueFull
        turn: Turn = asyncio.get_running_loop().create_future()
        turn.add_done_callback(lambda turn: self._give_up(client, turn))
        queue.append(turn)
        self._queues[client] = queue
        self.waiting += 1
        return turn

    def leave(self, client: str) -> None:
        """Give back the place of one request of ``client``, and hand it on."""
        self._total -= 1
        self._inside[client] -= 1
        if not self._inside[client]:
            del self._inside[client]
        self.hand_out()

    def hand_out(self) -> None:
        """Give the free places to who waits; also after ``places`` or ``share`` grew."""
        while able := [client for client in self._queues if self._is_free(client)]:
            client = min(able, key=lambda c: self._inside[c])
            turn = self._pop(client)
            if not turn.done():
                self._take(client)
                turn.set_result(None)

    def _pop(self, client: str) -> Turn:
        queue = self._queues[client]
        turn = queue.popleft()
        self.waiting -= 1
        self._queues.move_to_end(client)
        if not queue:
            del self._queues[client]
        return turn

    def _give_up(self, client: str, turn: Turn) -> None:
        queue = self._queues.get(client)
        if turn.cancelled() and queue and turn in queue:
            queue.remove(turn)
            self.waiting -= 1
            if not queue:
                del self._queues[client]

    def _is_free(self, client: str) -> bool:
        most = self.places if client in self._many else self.share
        return self._total < self.places and self._inside[client] < most

    def _take(self, client: str) -> None:
        self._inside[client] += 1
        self._total += 1
