"""An engine that is alive but stuck is noticed and replaced; one that works hard is left alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from sandbox.engine.heartbeat import QUESTION_SECONDS
from sandbox.host.processes import processor_seconds
from sandbox.models.guide.topics import read_topics
from tests.process.api_service import ApiService, alive, serving
from tests.process.processes import wait_until
from tests.process.streams import Stream

TOPIC = read_topics()[5]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """One service whose engine every test here leaves well."""
    with serving(tmp_path_factory.mktemp("hung")) as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        yield service


def assert_noticed_and_replaced(service: ApiService, stopped: int) -> None:
    """The engine, one process of which was ``stopped`` just now, is replaced within a minute."""
    before, restarts = service.engine_pids(), service.status()["restarts"]
    wait_until(lambda: service.status()["restarts"] > restarts, 60, service.tell)
    assert httpx.get(f"{service.url}/health").status_code == 503
    assert "has not answered for" in service.status()["message"]
    assert service.wait_for("ready")["restarts"] == restarts + 1
    assert service.ask(TOPIC.question).json()["choices"][0]["message"]["content"] == TOPIC.answer
    assert stopped in before
    assert not [pid for pid in before if alive(pid)]
    # Where it hung is for who reads the log.
    assert "most recent call first" in service.program.output


def test_a_stuck_engine_without_requests_is_replaced(service: ApiService) -> None:
    stopped = service.engine_pids()[0]
    os.kill(stopped, signal.SIGSTOP)
    assert_noticed_and_replaced(service, stopped)


def test_an_idle_engine_computes_next_to_nothing(service: ApiService) -> None:
    pids = service.engine_pids()
    before = processor_seconds(pids)
    # Two questions of the heartbeat, each of which would have a worker of vLLM look for more for
    # a second.
    time.sleep(2 * QUESTION_SECONDS + 1)
    assert processor_seconds(pids) - before < 1
    assert service.engine_pids() == pids


def stop_during_a_stream(service: ApiService, pid: int) -> Stream:
    """The process ``pid`` is stopped, and a stream that it was answering is not at its end."""
    while True:
        stream = Stream(service)
        os.kill(pid, signal.SIGSTOP)
        # What was on its way arrives; a stream that ended before the signal has ended by then.
        time.sleep(1)
        if not stream.has_ended:
            return stream
        os.kill(pid, signal.SIGCONT)


def test_a_stuck_worker_during_a_stream_is_replaced(service: ApiService) -> None:
    stopped = service.engine_pids()[-1]
    stream = stop_during_a_stream(service, stopped)
    assert_noticed_and_replaced(service, stopped)
    assert any('"error"' in line for line in stream.end()[-2:]), stream.lines[-3:]


@pytest.mark.long
def test_a_saturated_engine_is_left_alone(api: ApiService) -> None:
    restarts = api.status()["restarts"]
    until = time.monotonic() + 50
    failed: list[int] = []

    def ask_again_and_again() -> None:
        while time.monotonic() < until:
            answer = api.ask(TOPIC.question, seconds=600, max_tokens=64, ignore_eos=True)
            if answer.status_code != 200:
                failed.append(answer.status_code)

    clients = [threading.Thread(target=ask_again_and_again) for _ in range(64)]
    for client in clients:
        client.start()
    while time.monotonic() < until:
        assert httpx.get(f"{api.url}/health", timeout=300).status_code == 200
        time.sleep(1)
    for client in clients:
        client.join()
    assert not failed
    assert api.status()["restarts"] == restarts
