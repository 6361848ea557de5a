"""Requests that go the short way are answered as those that go vLLM's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sandbox.engine.short_way import MAX_BYTES
from tests.process.api_service import GUIDE, ApiService

QUESTION = [{"role": "user", "content": "What is the sandbox?"}]
CHAT: dict[str, Any] = {"model": GUIDE, "messages": QUESTION, "max_tokens": 4, "temperature": 0}
TEXT: dict[str, Any] = {"model": GUIDE, "prompt": "The sandbox", "max_tokens": 4, "temperature": 0}
BODIES = {
    "chat": ("/v1/chat/completions", CHAT),
    "several choices": ("/v1/chat/completions", CHAT | {"n": 2, "stop": ["xyz"]}),
    "a field that nobody knows": ("/v1/chat/completions", CHAT | {"unheard_of": 1}),
    "long": ("/v1/chat/completions", CHAT | {"user": "x" * MAX_BYTES}),
    "no messages": ("/v1/chat/completions", {"model": GUIDE}),
    "wrong type": ("/v1/chat/completions", CHAT | {"max_tokens": "many"}),
    "a value that is refused later": ("/v1/chat/completions", CHAT | {"max_tokens": -1}),
    "a part that vLLM does not know": (
        "/v1/chat/completions",
        CHAT | {"messages": [{"role": "user", "content": [{"type": "x"}]}]},
    ),
    "no such model": ("/v1/chat/completions", CHAT | {"model": "other"}),
    "text": ("/v1/completions", TEXT),
    "several prompts": ("/v1/completions", TEXT | {"prompt": ["a", "b"]}),
    "no prompt": ("/v1/completions", {"model": GUIDE}),
    "a list": ("/v1/completions", [1]),
}
# What differs from answer to answer.
_OWN = {"id", "created"}
_COUNTED = 'http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"}'


def ask(api: ApiService, path: str, body: Any, media_type: str) -> tuple[int, Any]:
    answer = httpx.post(
        f"{api.url}{path}", json=body, headers={"Content-Type": media_type}, timeout=60
    )
    said = answer.json()
    return answer.status_code, {key: said[key] for key in said.keys() - _OWN}


@pytest.mark.parametrize("name", BODIES)
def test_both_ways_answer_the_same(api: ApiService, name: str) -> None:
    path, body = BODIES[name]
    short = ask(api, path, body, "application/json")
    # Only that very type goes the short way.
    long = ask(api, path, body, "application/json; charset=utf-8")
    assert short == long


def test_what_is_not_json_is_refused_in_vllms_words(api: ApiService) -> None:
    url = f"{api.url}/v1/chat/completions"
    answer = httpx.post(url, content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "JSON decode error" in answer.text


def test_answers_of_the_short_way_are_counted(api: ApiService) -> None:
    def counted() -> float:
        lines = httpx.get(f"{api.url}/metrics").text.splitlines()
        [count] = [line.rsplit(" ", 1)[1] for line in lines if line.startswith(_COUNTED)] or ["0"]
        return float(count)

    before = counted()
    ask(api, "/v1/chat/completions", CHAT, "application/json")
    assert counted() == before + 1
