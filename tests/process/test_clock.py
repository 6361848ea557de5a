"""The clock of the machine jumps: for days and back, while a stream runs."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests import system_tools
from tests.process.api_service import GUIDE, ApiService, serving
from tests.process.processes import wait_until

pytestmark = pytest.mark.long
DAY = 86_400


@pytest.fixture(scope="module")
def library() -> Path:
    """What gives programs another clock."""
    if system_tools.ensure(["faketime"]):
        if os.environ.get("CI") == "true":
            pytest.fail("faketime is missing. With CI=true that is a failure.")
        pytest.skip("faketime is missing: sudo apt-get install faketime")
    [found, *_] = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found


def shows(service: ApiService, then: float) -> bool:
    """True when it is ``then`` for the service."""
    return abs(float(service.status()["now"]) - then) < 600


def test_a_clock_that_jumps_stops_nothing(tmp_path: Path, library: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    variables = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": clock,
        # In seconds, how often each process looks for another time.
        "FAKETIME_CACHE_DURATION": 1,
        # As with a real clock: what measures how long things take does not jump.
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
    }
    under = ["env", *(f"{name}={value}" for name, value in variables.items())]
    with serving(tmp_path, under=under) as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        for days in (3, -400, 0):
            question = [{"role": "user", "content": "Tell me about the sandbox."}]
            body = {"model": GUIDE, "messages": question, "max_tokens": 600, "ignore_eos": True}
            url = f"{service.url}/v1/chat/completions"
            with httpx.stream("POST", url, json=body | {"stream": True}, timeout=120) as answer:
                lines = answer.iter_lines()
                next(lines)
                clock.write_text(f"{days * DAY:+d}")
                assert "data: [DONE]" in lines
            then = time.time() + days * DAY
            wait_until(functools.partial(shows, service, then), 60, service.tell)
            assert service.ask("Hello").status_code == 200
            status = service.status()
            assert (status["state"], status["restarts"]) == ("ready", 0)
        service.program.process.send_signal(signal.SIGTERM)
        assert service.program.process.wait(60) == 0
