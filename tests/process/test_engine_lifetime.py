"""Engine processes come back when they die and never outlive the launcher."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.models.guide.topics import read_topics
from tests.process.api_service import ApiService, alive, serving
from tests.process.processes import wait_until
from tests.process.streams import Stream

TOPIC = read_topics()[5]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ApiService]:
    """One to end."""
    with serving(tmp_path) as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        yield service


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """One whose engine is killed; at the fifth time it ends."""
    with serving(tmp_path_factory.mktemp("lasting")) as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        yield service


def test_a_killed_engine_is_told_to_streams_and_replaced(lasting: ApiService) -> None:
    service = lasting
    before, restarts = service.engine_pids(), service.status()["restarts"]
    stream = Stream(service)
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: httpx.get(f"{service.url}/health").status_code == 503, 10, service.tell)
    assert any('"error"' in line for line in stream.end()[-2:]), stream.lines[-3:]
    service.wait_for("ready")
    assert service.ask(TOPIC.question).json()["choices"][0]["message"]["content"] == TOPIC.answer
    assert service.status()["restarts"] == restarts + 1
    assert not [pid for pid in before if alive(pid)]


def test_a_killed_worker_is_replaced(lasting: ApiService) -> None:
    service = lasting
    before, restarts = service.engine_pids(), service.status()["restarts"]
    os.kill(before[-1], signal.SIGKILL)
    wait_until(lambda: service.status()["restarts"] == restarts + 1, 60, service.tell)
    service.wait_for("ready")
    assert service.ask(TOPIC.question).status_code == 200
    assert not [pid for pid in before if alive(pid)]


def test_a_killed_zygote_is_replaced(lasting: ApiService) -> None:
    service = lasting
    before, restarts = service.engine_pids(), service.status()["restarts"]
    zygote = int(Path(f"/proc/{before[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: service.status()["restarts"] == restarts + 1, 60, service.tell)
    service.wait_for("ready")
    assert service.ask(TOPIC.question).status_code == 200
    assert not [pid for pid in [*before, zygote] if alive(pid)]


def test_requests_to_the_next_engine_are_counted(lasting: ApiService) -> None:
    service = lasting
    restarts = service.status()["restarts"]
    os.kill(service.engine_pids()[0], signal.SIGKILL)
    wait_until(lambda: service.status()["restarts"] == restarts + 1, 60, service.tell)
    service.wait_for("ready")
    assert service.ask(TOPIC.question).status_code == 200
    counts = httpx.get(f"{service.url}/metrics").text
    # That one and no other: the app of each engine counts anew.
    assert 'http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} 1.0' in (
        counts
    )


def test_a_killed_launcher_leaves_no_spawned_process(tmp_path: Path) -> None:
    with serving(tmp_path, VLLM_WORKER_MULTIPROC_METHOD="spawn") as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        service.program.process.kill()
        service.program.wait_for_nothing_left(5)


@pytest.mark.long
def test_spawned_engines_are_stopped_too(tmp_path: Path) -> None:
    with serving(tmp_path, VLLM_WORKER_MULTIPROC_METHOD="spawn") as service:
        status = service.wait_for("ready")
        assert status["state"] == "ready", service.tell()
        assert "are spawned" in service.program.output
        service.program.process.send_signal(signal.SIGTERM)
        assert service.program.process.wait(60) == 0
        service.program.wait_for_nothing_left(5)


def test_an_engine_killed_while_it_loads_is_started_again(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.wait_for("loading")
        wait_until(lambda: "EngineCore pid=" in service.program.output, 120, service.tell)
        name = service.program.output.split("EngineCore pid=")[1].split(")")[0]
        os.kill(int(name), signal.SIGKILL)
        assert service.wait_for("ready")["restarts"] == 1, service.tell()


def test_a_killed_launcher_leaves_no_process(service: ApiService) -> None:
    assert len(service.program.living()) > 2
    service.program.process.kill()
    service.program.wait_for_nothing_left(5)


def test_a_launcher_killed_while_loading_leaves_no_process(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.wait_for("loading")
        service.program.process.kill()
        service.program.wait_for_nothing_left(5)


def test_an_engine_that_dies_again_and_again_ends_the_process(service: ApiService) -> None:
    killed = 0

    def over() -> bool:
        nonlocal killed
        if service.program.process.poll() is not None:
            return True
        try:
            status = service.status()
        except httpx.TransportError:
            return False
        if status["state"] == "ready" and status["restarts"] == killed:
            os.kill(service.engine_pids()[0], signal.SIGKILL)
            killed += 1
        return False

    wait_until(over, 300, service.tell)
    assert service.program.process.returncode == 1
    assert killed == 5
    service.program.wait_for_nothing_left(5)


def test_sigterm_lets_streams_end_and_refuses_new_requests(service: ApiService) -> None:
    stream = Stream(service)
    service.program.process.send_signal(signal.SIGTERM)
    wait_until(lambda: service.status()["state"] == "draining", 10, service.tell)
    assert service.ask("Hello").status_code == 503
    assert stream.end()[-1] == "data: [DONE]"
    assert service.program.process.wait(30) == 0
    service.program.wait_for_nothing_left(5)


def test_ctrl_c_while_loading_ends_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.wait_for("loading")
        service.program.process.send_signal(signal.SIGINT)
        assert service.program.process.wait(10) == 0
        service.program.wait_for_nothing_left(5)
