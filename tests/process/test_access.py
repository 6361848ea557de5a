"""With API_KEY set, the API is for those who have one of its keys."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.process.api_service import ApiService, serving

KEYS = ("the-first-long-key", "the-second-long-key")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """A service with two keys; no model is needed to be refused."""
    folder = tmp_path_factory.mktemp("keyed")
    with serving(folder, MODEL_ID="/nowhere", API_KEY=",".join(KEYS)) as service:
        service.wait_for("failed")
        yield service


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/metrics", "/openapi.json"])
def test_without_a_key_a_request_is_refused(keyed: ApiService, path: str) -> None:
    refused = httpx.get(keyed.url + path)
    assert refused.status_code == 401
    assert "key" in refused.json()["error"]["message"]
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_accepted(keyed: ApiService, key: str) -> None:
    for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert httpx.get(f"{keyed.url}/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/status", "/livez"])
def test_what_is_going_on_is_told_to_all(keyed: ApiService, path: str) -> None:
    answer = httpx.get(keyed.url + path)
    assert answer.status_code == 200
    assert not any(key in answer.text for key in KEYS)


def test_a_browser_may_ask_without_the_key_whether_it_may_send_it(keyed: ApiService) -> None:
    asked = httpx.options(
        f"{keyed.url}/v1/chat/completions",
        headers={"Origin": "http://example.test", "Access-Control-Request-Method": "POST"},
    )
    assert asked.status_code != 401


def test_no_key_is_printed(keyed: ApiService) -> None:
    assert not any(key in keyed.program.output for key in KEYS)
