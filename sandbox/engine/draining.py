"""Letting requests end before an engine is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

DRAIN_SECONDS = 30.0
_POLL_SECONDS = 0.05


async def drained(running: Callable[[], int], seconds: Callable[[], float]) -> None:
    """Return when no request is ``running`` any more, or after ``seconds``.

    Both are asked again and again: the time may be shortened meanwhile.
    """
    clock = asyncio.get_running_loop().time
    start = clock()
    while running() and clock() < start + seconds():
        await asyncio.sleep(_POLL_SECONDS)


def requests(number: int) -> str:
    """Such as ``1 request is``."""
    return "1 request is" if number == 1 else f"{number} requests are"
