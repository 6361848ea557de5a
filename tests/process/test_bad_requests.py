"""What a client does wrong gets a 4xx in OpenAI's shape: never a 5xx, never a stack trace."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.process.api_service import GUIDE, ApiService

CHAT = "/v1/chat/completions"


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object, which must have OpenAI's fields."""
    error: dict[str, Any] = response.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert "Traceback" not in response.text
    return error


def test_malformed_json_is_400(api: ApiService) -> None:
    response = httpx.post(
        api.url + CHAT, content="{broken", headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400
    assert "JSON" in error_of(response)["message"]


def test_an_unknown_model_is_404_and_named(api: ApiService) -> None:
    response = httpx.post(
        api.url + CHAT, json={"model": "nobody/nothing", "messages": [{"role": "user"}]}
    )
    assert response.status_code == 404
    assert "nobody/nothing" in error_of(response)["message"]


def test_a_prompt_longer_than_the_context_is_400(api: ApiService) -> None:
    response = api.ask("word " * 20_000)
    assert response.status_code == 400
    assert "context" in error_of(response)["message"] or "length" in error_of(response)["message"]


def test_a_part_of_a_message_that_vllm_does_not_know_is_400(api: ApiService) -> None:
    refusal = {"type": "refusal", "refusal": "No."}
    said = {"type": "message", "role": "assistant", "id": "1", "status": "completed"}
    body = {"model": GUIDE, "input": [{**said, "content": [refusal]}]}
    response = httpx.post(f"{api.url}/v1/responses", json=body)
    assert response.status_code == 400, response.text
    assert "cannot read" in error_of(response)["message"]


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v1", "/docs"])
def test_an_unknown_route_is_404(api: ApiService, path: str) -> None:
    response = httpx.get(api.url + path)
    assert response.status_code == 404
    assert path in error_of(response)["message"]


@pytest.mark.parametrize(
    "path",
    ["/scale_elastic_ep", "/invocations", "/inference/v1/generate", "/pause", "/sleep", "/load"],
)
def test_engine_control_is_not_reachable(api: ApiService, path: str) -> None:
    assert httpx.post(api.url + path, json={}).status_code == 404


@pytest.mark.parametrize("path", ["/", "/status", "/health", "/metrics"])
def test_a_wrong_method_on_our_own_routes_is_405(api: ApiService, path: str) -> None:
    response = httpx.delete(api.url + path)
    assert response.status_code == 405
    error_of(response)


def test_a_wrong_method_is_405(api: ApiService) -> None:
    response = httpx.get(api.url + CHAT)
    assert response.status_code == 405
    assert "POST" in error_of(response)["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": "hot"},
        {"n": -1},
        {"max_tokens": -5},
        {"messages": "not a list"},
        {"messages": []},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"response_format": {"type": "json_schema"}},
        {"logprobs": True, "top_logprobs": 1000},
        {"stop": [1, 2]},
        {"tools": [{"type": "function"}]},
        {"temperature": 1, "n": 17},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"chat_template": "{{ 7 * 7 }}"},
        {"structured_outputs": {"regex": "(a|b)" * 20_000}},
    ],
    ids=lambda change: next(reversed(change)),
)
def test_a_wrong_field_is_400(api: ApiService, change: dict[str, Any]) -> None:
    body = {"model": GUIDE, "messages": [{"role": "user", "content": "hi"}], **change}
    response = httpx.post(api.url + CHAT, json=body, timeout=60)
    assert response.status_code == 400, response.text
    error_of(response)


def test_more_prompts_than_may_be_in_one_request_are_400(api: ApiService) -> None:
    body = {"model": GUIDE, "prompt": ["hi"] * 129, "max_tokens": 1}
    response = httpx.post(f"{api.url}/v1/completions", json=body, timeout=60)
    assert response.status_code == 400, response.text
    error_of(response)


def test_an_image_for_a_text_model_is_400(api: ApiService) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    response = httpx.post(
        api.url + CHAT,
        json={"model": GUIDE, "messages": [{"role": "user", "content": [image]}]},
        timeout=60,
    )
    assert response.status_code == 400, response.text
    error_of(response)


def test_a_body_that_is_too_large_is_413(api: ApiService) -> None:
    response = api.ask("x" * (33 * 2**20))
    assert response.status_code == 413
    assert "MAX_BODY_MB" in error_of(response)["message"]


def test_deep_json_is_400(api: ApiService) -> None:
    body = '{"model": ' + "[" * 100_000
    headers = {"Content-Type": "application/json"}
    response = httpx.post(api.url + CHAT, content=body, headers=headers)
    assert response.status_code == 400
    error_of(response)


def test_a_website_cannot_use_it_through_a_visitors_browser(api: ApiService) -> None:
    """What a browser sends without asking, and what it asks before it sends more."""
    foreign = {"Origin": "http://evil.example"}
    body = '{"model": "builtin:guide", "messages": [{"role": "user", "content": "hi"}]}'
    simple = httpx.post(
        api.url + CHAT, content=body, headers={**foreign, "Content-Type": "text/plain"}
    )
    assert 400 <= simple.status_code < 500
    for path in (CHAT, "/v1/models", "/status"):
        asked = {**foreign, "Access-Control-Request-Method": "POST"}
        allowed = httpx.options(api.url + path, headers=asked).headers
        assert "access-control-allow-origin" not in allowed
        assert (
            "access-control-allow-origin" not in httpx.get(api.url + path, headers=foreign).headers
        )
