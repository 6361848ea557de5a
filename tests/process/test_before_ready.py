"""The port answers at once and tells what is going on, until a model answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import httpx
import pytest

from tests.process.api_service import GUIDE, ApiService, serving


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[ApiService]:
    """A service whose port answers and whose model still loads for seconds."""
    with serving(tmp_path) as service:
        service.wait_for_port()
        yield service


def test_everything_explains_itself_while_the_model_loads(starting: ApiService) -> None:
    # One start serves all that is asked here; the model takes longer than this.
    assert httpx.get(f"{starting.url}/health").status_code == 503
    listed = httpx.get(f"{starting.url}/v1/models").json()
    assert [model["id"] for model in listed["data"]] == [GUIDE]
    refused = starting.ask("Where are the logs?")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["message"].startswith(f"{GUIDE} is ")
    message = httpx.post(f"{starting.url}/v1/messages", json={})
    assert message.status_code == 503
    assert message.json()["type"] == "error"
    assert httpx.get(f"{starting.url}/nothing").status_code == 404
    page = httpx.get(starting.url)
    assert page.headers["content-type"].startswith("text/html")


def test_the_events_tell_every_state_up_to_ready(starting: ApiService) -> None:
    states: list[str] = []
    with httpx.stream("GET", f"{starting.url}/status/events", timeout=300) as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: "))["state"])
                if states[-1] == "ready":
                    break
    phases = [phase["state"] for phase in starting.status()["phases"]]
    assert phases == ["starting", "planning", "loading", "ready"]
    # Who connects late sees the present state first, maybe twice; order is never changed.
    assert [state for state, _ in groupby(states)] == [state for state in phases if state in states]
    assert httpx.get(f"{starting.url}/health").status_code == 200
