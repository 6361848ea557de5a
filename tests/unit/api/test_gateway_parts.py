"""Keys, routes, error shapes and waiting times of the gateway."""

from __future__ import annotations

import json

import pytest

from sandbox.api import routes
from sandbox.api.access import KeyCheck
from sandbox.api.errors import error_response
from sandbox.api.gateway import retry_after
from sandbox.engine.lifecycle import Progress, State, Status

KEYS = ("first-long-key", "second-long-key")


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
