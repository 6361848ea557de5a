"""Work that blocks, beside the event loop: in daemon threads, so that a stop never waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run ``work`` in a daemon thread: cancelling the wait does not stop it, ending does."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            # Cancelled meanwhile: nobody waits any more.
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(cast(T, result))

    def run() -> None:
        try:
            result = work(*arguments)
        except BaseException as error:
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, result, None)

    threading.Thread(target=run, name="supervisor-work", daemon=True).start()
    return await future


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` and wait for its end, whatever that is."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
