"""The numbers of the last hour at /status/history, with the real engine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.process.api_service import ApiService, serving
from tests.process.processes import wait_until


def samples(api: ApiService, since: float = 0.0) -> dict[str, list[Any]]:
    answer = httpx.get(f"{api.url}/status/history", params={"since": since})
    columns: dict[str, list[Any]] = answer.json()["samples"]
    return columns


def test_a_chat_shows_in_the_numbers_of_the_last_hour(api: ApiService) -> None:
    before = httpx.get(f"{api.url}/status/history").json()["now"]
    api.ask("How do I change the model?")

    def seen() -> bool:
        newer = samples(api, since=before)
        return any(newer["generated_tokens_per_second"]) and any(newer["first_token_p95_seconds"])

    wait_until(seen, 60, api.tell)


def test_a_new_engine_goes_on_where_the_dead_one_ended(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()

        def written_after(time: float) -> bool:
            return any(samples(service, time)["generated_tokens_per_second"])

        service.ask("How do I change the model?")
        wait_until(lambda: written_after(0), 60, service.tell)
        killed = service.status()["now"]
        os.kill(service.engine_pids()[0], signal.SIGKILL)
        wait_until(lambda: service.status()["restarts"] == 1, 60, service.tell)
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        service.ask("How do I change the model?")
        wait_until(lambda: written_after(killed), 60, service.tell)
        rates = samples(service)["generated_tokens_per_second"]
        # While none was served nothing is known; the new one's count from 0 is no step back.
        assert None in rates
        assert all(rate is None or rate >= 0 for rate in rates)


def test_a_wrong_since_is_explained(api: ApiService) -> None:
    refused = httpx.get(f"{api.url}/status/history", params={"since": "yesterday"})
    assert refused.status_code == 400
    assert "since is 'yesterday'" in refused.json()["error"]["message"]
