"""Clients that people use talk to the API: the official libraries of OpenAI and Anthropic."""

from __future__ import annotations

import http.client
import json
import time

import anthropic
import httpx
import openai
import pytest

from sandbox.models.guide.topics import Topic, read_topics
from tests.process.api_service import GUIDE, ApiService


@pytest.fixture(scope="module")
def topic() -> Topic:
    return read_topics()[5]


@pytest.fixture(scope="module")
def client(api: ApiService) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", timeout=120)


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [GUIDE]


def test_a_chat_answers_to_the_letter(client: openai.OpenAI, topic: Topic) -> None:
    answer = client.chat.completions.create(
        model=GUIDE, messages=[{"role": "user", "content": topic.question}]
    )
    assert answer.choices[0].message.content == topic.answer
    assert answer.choices[0].finish_reason == "stop"


def test_a_streamed_chat_says_the_same(client: openai.OpenAI, topic: Topic) -> None:
    stream = client.chat.completions.create(
        model=GUIDE,
        messages=[{"role": "user", "content": topic.question}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == topic.answer
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 1


def test_a_completion_continues_a_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=GUIDE, prompt="Hello", max_tokens=4)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 4


def test_a_response_answers_to_the_letter(client: openai.OpenAI, topic: Topic) -> None:
    answer = client.responses.create(model=GUIDE, input=topic.question)
    assert answer.output_text == topic.answer


def test_a_json_schema_is_kept(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"gpu": {"type": "boolean"}, "state": {"enum": ["ready", "failed"]}},
        "required": ["gpu", "state"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=GUIDE,
        messages=[{"role": "user", "content": "Is it ready?"}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "state", "schema": schema, "strict": True},
        },
    )
    said = json.loads(answer.choices[0].message.content or "")
    assert set(said) == {"gpu", "state"}
    assert said["state"] in ("ready", "failed")


def test_logprobs_come_with_the_tokens(client: openai.OpenAI, topic: Topic) -> None:
    answer = client.chat.completions.create(
        model=GUIDE,
        messages=[{"role": "user", "content": topic.question}],
        logprobs=True,
        top_logprobs=3,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content
    assert all(len(token.top_logprobs) == 3 for token in logprobs.content)
    assert logprobs.content[0].logprob <= 0


def test_a_request_with_tools_is_answered(client: openai.OpenAI, topic: Topic) -> None:
    answer = client.chat.completions.create(
        model=GUIDE,
        messages=[{"role": "user", "content": topic.question}],
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "get_time",
                    "description": "The time now",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ],
    )
    assert answer.choices[0].message.content == topic.answer


def test_an_anthropic_message_answers_to_the_letter(api: ApiService, topic: Topic) -> None:
    client = anthropic.Anthropic(base_url=api.url, api_key="none", timeout=120)
    message = client.messages.create(
        model=GUIDE, max_tokens=300, messages=[{"role": "user", "content": topic.question}]
    )
    block = message.content[0]
    assert isinstance(block, anthropic.types.TextBlock)
    assert block.text == topic.answer


def test_tokens_go_to_ids_and_back(api: ApiService) -> None:
    tokens = httpx.post(
        f"{api.url}/tokenize",
        json={"model": GUIDE, "prompt": "Where are the logs?", "add_special_tokens": False},
    ).json()["tokens"]
    text = httpx.post(f"{api.url}/detokenize", json={"model": GUIDE, "tokens": tokens}).json()
    assert text["prompt"] == "Where are the logs?"


def test_metrics_count_tokens(api: ApiService, client: openai.OpenAI, topic: Topic) -> None:
    client.completions.create(model=GUIDE, prompt="Hello", max_tokens=2)
    metrics = httpx.get(f"{api.url}/metrics").text
    assert "vllm:generation_tokens_total" in metrics
    assert "vllm:time_to_first_token_seconds" in metrics


def test_a_connection_waits_longer_than_its_client_for_the_next_request(api: ApiService) -> None:
    url = httpx.URL(api.url)
    connection = http.client.HTTPConnection(url.host, url.port)
    for pause in (6, 0):
        connection.request("GET", "/livez")
        first = connection.sock
        assert connection.getresponse().read()
        time.sleep(pause)
    assert connection.sock is first
    connection.close()
