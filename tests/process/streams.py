"""A chat that is being answered while a test does something else."""

from __future__ import annotations

import threading
from typing import Any

import httpx

from tests.process.api_service import GUIDE, ApiService

_QUESTION = "Tell me about the sandbox."


class Stream:
    """A chat of many tokens, read in a thread; ``begun`` is set at the first content."""

    def __init__(self, service: ApiService, tokens: int = 900) -> None:
        self.lines: list[str] = []
        self.begun = threading.Event()
        self._body: dict[str, Any] = {
            "model": GUIDE,
            "messages": [{"role": "user", "content": _QUESTION}],
            "stream": True,
            "max_tokens": tokens,
            "ignore_eos": True,
        }
        self._url = f"{service.url}/v1/chat/completions"
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self.begun.wait(60)

    def _read(self) -> None:
        with httpx.stream("POST", self._url, json=self._body, timeout=120) as answer:
            for line in answer.iter_lines():
                self.lines.append(line)
                if '"content"' in line:
                    self.begun.set()

    @property
    def has_ended(self) -> bool:
        """True when nothing more comes."""
        return not self._thread.is_alive()

    def end(self) -> list[str]:
        """All lines, once the server has ended the stream."""
        self._thread.join(90)
        assert not self._thread.is_alive()
        return [line for line in self.lines if line]
