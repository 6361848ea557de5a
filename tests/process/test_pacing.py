"""Under load the real engine sends tokens several at a time, and no token is lost or told twice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.process.api_service import GUIDE, ApiService

# Enough for two tokens at a time, and long enough for the change to come while they run.
STREAMS, TOKENS = 40, 300


def chunks(api: ApiService, number: int) -> list[dict[str, Any]]:
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
    with httpx.stream("POST", f"{api.url}/v1/chat/completions", json=body, timeout=300) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_tokens_that_come_together_are_counted_once(api: ApiService) -> None:
    with ThreadPoolExecutor(STREAMS) as crowd:
        answers = list(crowd.map(lambda number: chunks(api, number), range(STREAMS)))
    assert [answer[-1]["usage"]["completion_tokens"] for answer in answers] == [TOKENS] * STREAMS
    told = [
        sum(len(choice.get("token_ids") or []) for chunk in answer for choice in chunk["choices"])
        for answer in answers[1::2]
    ]
    assert told == [TOKENS] * (STREAMS // 2)
    # Some really came together.
    assert min(len(answer) for answer in answers[1::2]) < TOKENS
