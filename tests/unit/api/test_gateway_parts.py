"""Keys, routes, error shapes and waiting times of the gateway."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from sandbox.api import gateway, routes
from sandbox.api.access import KeyCheck
from sandbox.api.admission import Admission
from sandbox.api.errors import error_response
from sandbox.api.gateway import Gateway, retry_after
from sandbox.engine.lifecycle import Lifecycle, Progress, State, Status
from sandbox.settings import Settings

KEYS = ("first-long-key", "second-long-key")


def gateway_of(supervisor: Any, lifecycle: Lifecycle) -> Gateway:
    keys = KeyCheck(())
    return Gateway(supervisor, lifecycle, keys, Admission(Settings(), keys))


def scope(**headers: str) -> dict[str, object]:
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"type": "http", "headers": pairs}


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_in_both_headers(key: str) -> None:
    check = KeyCheck(KEYS)
    assert check.allows(scope(authorization=f"Bearer {key}"))
    assert check.allows(scope(authorization=f"bearer {key}"))
    assert check.allows(scope(x_api_key=key))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-long-key"},
        {"authorization": "first-long-key"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer first-long-key,second-long-key"},
        {"x_api_key": "first-long-ke"},
        {"authorization": "Basic first-long-key"},
    ],
)
def test_anything_else_stays_out(headers: dict[str, str]) -> None:
    assert not KeyCheck(KEYS).allows(scope(**headers))


def test_without_keys_all_are_let_in() -> None:
    assert KeyCheck(()).allows(scope())


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/models", "GET"),
        ("/v1/responses/resp_1", "GET"),
        ("/v1/responses/resp_1/cancel", "POST"),
        ("/scale_elastic_ep", None),
        ("/inference/v1/generate", None),
        ("/v1/models/", None),
        ("/v1/responses/a/b/cancel", None),
        ("//v1/models", None),
    ],
)
def test_only_listed_routes_are_reachable(path: str, method: str | None) -> None:
    route = routes.find(path)
    assert (route.method if route else None) == method


def test_an_error_has_the_shape_of_openai() -> None:
    answer = error_response("/v1/chat/completions", 503, "wait", retry_after=7)
    assert answer.headers["retry-after"] == "7"
    assert json.loads(bytes(answer.body)) == {
        "error": {
            "message": "wait",
            "type": "service_unavailable",
            "param": None,
            "code": 503,
        }
    }


def test_an_error_for_messages_has_the_shape_of_anthropic() -> None:
    body = json.loads(bytes(error_response("/v1/messages", 404, "gone").body))
    assert body == {"type": "error", "error": {"type": "not_found_error", "message": "gone"}}


@pytest.mark.parametrize(
    ("state", "waited", "progress", "seconds"),
    [
        (State.LOADING, 1, None, 2),
        (State.LOADING, 100, None, 10),
        (State.FAILED, 1, None, 60),
        (State.DOWNLOADING, 1, Progress(0, 1000, 100.0), 10),
        (State.DOWNLOADING, 1, Progress(0, 10**9, 1.0), 60),
        (State.DOWNLOADING, 1, Progress(1000, 1000, 100.0), 1),
    ],
)
def test_the_waiting_time_follows_the_state(
    state: State, waited: int, progress: Progress | None, seconds: int
) -> None:
    status = Status(state, 1000.0, "m", progress=progress)
    assert retry_after(status, now=1000.0 + waited) == seconds


def test_a_request_that_waited_too_long_for_a_switch_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway, "_PATIENCE_SECONDS", 0.01)
    # No engine is there, as in the middle of a switch.
    supervisor: Any = SimpleNamespace(engine=None)

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        lifecycle = Lifecycle("a")
        await lifecycle.set(State.LOADING, "b is loading.", model="b", switching=True)
        app = httpx.ASGITransport(gateway_of(supervisor, lifecycle))
        async with httpx.AsyncClient(transport=app, base_url="http://box") as client:
            refused = await client.post("/v1/chat/completions", json={})
            return refused, await client.get("/v1/models")

    refused, listed = asyncio.run(ask())
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["message"] == "b is loading."
    assert [model["id"] for model in listed.json()["data"]] == ["b"]
