"""A chat that is being answered while a test does something else."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import httpx

from sandbox.bench.load import Target
from tests.process.api_service import GUIDE, ApiService

_QUESTION = "Tell me about the sandbox."


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One thread reads all streams: many that read one each would wait for each other, for long."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


class Stream:
    """A chat of many tokens, read meanwhile; ``begun`` is set at the first content."""

    def __init__(self, service: ApiService, tokens: int = 900, wait: bool = True) -> None:
        self.lines: list[str] = []
        self.begun = threading.Event()
        body: dict[str, Any] = {
            "model": GUIDE,
            "messages": [{"role": "user", "content": _QUESTION}],
            "stream": True,
            "max_tokens": tokens,
            "ignore_eos": True,
        }
        url = httpx.URL(service.url)
        assert url.port
        self._reading = asyncio.run_coroutine_threadsafe(
            self._read(Target(url.host, url.port), body), _loop()
        )
        if wait:
            self.wait_for_begin()

    async def _read(self, target: Target, body: dict[str, Any]) -> None:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(target.request(body))
        async for line in reader:
            text = line.decode().strip()
            # The length of the last part: nothing comes after it.
            if text == "0":
                break
            if text.startswith("data: "):
                self.lines.append(text)
            if '"content"' in text:
                self.begun.set()
        writer.close()

    def wait_for_begin(self) -> None:
        """Return at the first content."""
        assert self.begun.wait(60)

    @property
    def has_ended(self) -> bool:
        """True when nothing more comes."""
        return self._reading.done()

    def end(self) -> list[str]:
        """All events, once the server has ended the stream."""
        self._reading.result(90)
        return self.lines
