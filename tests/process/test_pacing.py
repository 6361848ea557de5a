"""Under load the real engine sends tokens several at a time, and no token is lost or told twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from sandbox.bench.load import Target
from tests.process.api_service import GUIDE, ApiService

# Enough for two tokens at a time, and long enough for the change to come while they run.
STREAMS, TOKENS = 120, 300


async def chunks(port: int, number: int) -> list[dict[str, Any]]:
    """The events of one stream; read without a library, which would take longer than the engine."""
    body = {
        "model": GUIDE,
        "messages": [{"role": "user", "content": f"{number}: tell me about the sandbox."}],
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Half of them go through vLLM's own generator, which tells the tokens.
        **({"return_token_ids": True} if number % 2 else {}),
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    writer.write(Target("127.0.0.1", port).request(body))
    told = await reader.readuntil(b"data: [DONE]")
    writer.close()
    lines = [line for line in told.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line.removeprefix(b"data: ")) for line in lines]


async def all_at_once(port: int) -> list[list[dict[str, Any]]]:
    return await asyncio.gather(*(chunks(port, number) for number in range(STREAMS)))


def test_tokens_that_come_together_are_counted_once(api: ApiService) -> None:
    answers = asyncio.run(all_at_once(httpx.URL(api.url).port or 0))
    assert [answer[-1]["usage"]["completion_tokens"] for answer in answers] == [TOKENS] * STREAMS
    told = [
        sum(len(choice.get("token_ids") or []) for chunk in answer for choice in chunk["choices"])
        for answer in answers[1::2]
    ]
    assert told == [TOKENS] * (STREAMS // 2)
    # Some really came together.
    assert min(len(answer) for answer in answers[1::2]) < TOKENS
