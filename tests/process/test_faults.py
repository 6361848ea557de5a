"""What clients and the kernel do to a box while it serves: nobody else notices, nothing is kept."""

from __future__ import annotations

import contextlib
import re
import socket

import httpx
import pytest

from tests.process.api_service import GUIDE, ApiService
from tests.process.hostile import BODIES
from tests.process.processes import wait_until
from tests.process.streams import Stream

CHAT = "/v1/chat/completions"
TOKENS, CHOICES, CLIENTS = 900, 16, 32
LONG = {
    "model": GUIDE,
    "messages": [{"role": "user", "content": "Tell me about the sandbox."}],
    "max_tokens": TOKENS,
    "ignore_eos": True,
    "n": CHOICES,
    "temperature": 1.0,
}


def metric(api: ApiService, pattern: str) -> float:
    """The sum of the metrics whose name and labels begin with ``pattern``."""
    text = httpx.get(f"{api.url}/metrics", timeout=60).text
    return sum(float(value) for value in re.findall(rf"^{pattern}[^ ]* (.+)$", text, re.MULTILINE))


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "not streamed"])
def test_what_a_client_that_went_away_asked_is_dropped(api: ApiService, streamed: bool) -> None:
    """Two minutes of work are asked: vLLM polling on two cores can stop a test for 11 seconds."""
    done = metric(api, "vllm:generation_tokens_total")
    address = ("127.0.0.1", int(api.url.rsplit(":", 1)[1]))
    body = httpx.Request("POST", api.url + CHAT, json={**LONG, "stream": streamed}).content
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with contextlib.ExitStack() as clients:
        for _ in range(CLIENTS):
            connection = clients.enter_context(socket.create_connection(address))
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: metric(api, "vllm:generation_tokens_total") > done, 60, api.tell)
    wait_until(lambda: api.status()["requests_running"] == 0, 60, api.tell)

    def nothing_is_kept() -> bool:
        # The engine's gauges tell of its last step, so there is one more.
        assert api.ask("Hello").status_code == 200
        kept = ("vllm:num_requests_running", "vllm:kv_cache_usage_perc")
        return all(metric(api, name) == 0 for name in kept)

    wait_until(nothing_is_kept, 60, api.tell)
    assert metric(api, "vllm:generation_tokens_total") - done < CLIENTS * CHOICES * TOKENS


def test_hostile_requests_are_refused_and_harm_nobody(api: ApiService) -> None:
    restarts = api.status()["restarts"]
    stream = Stream(api)
    answers = {}
    for name, body in BODIES.items():
        headers = {"Content-Type": "application/json"}
        answer = httpx.post(api.url + CHAT, content=body, headers=headers, timeout=120)
        answers[name] = answer.status_code
    assert {name: code for name, code in answers.items() if code >= 500} == {}
    assert stream.end()[-1] == "data: [DONE]"
    assert api.ask("Hello").status_code == 200
    assert api.status()["restarts"] == restarts
