"""The chat page's port while Open WebUI starts behind it, asked again and again."""

from __future__ import annotations

import collections
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from sandbox.host.processes import descendants
from tests.process.api_service import COMMAND, environment, free_port
from tests.process.processes import Program, running, wait_until
from tests.standins.chat_page import ApiStandIn, ChatPage

# Only against a hang.
START_S = 240


class Start(NamedTuple):
    """A start from its beginning until Open WebUI had answered for a while."""

    program: Program
    url: str
    # (status, the page's name or the type of the content) of each answer, in order.
    seen: list[tuple[int, str]]
    empty: int


@pytest.fixture(scope="module")
def start(backend: ApiStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    folder = tmp_path_factory.mktemp("start")
    port = free_port()
    settings = environment(
        folder,
        MODEL_ID="some/model",
        UI_HOST="127.0.0.1",
        UI_PORT=str(port),
        API_PORT=str(backend.port),
    )
    url = f"http://127.0.0.1:{port}"
    with running([str(COMMAND), "ui"], folder, settings) as program:
        wait_until(lambda: is_open(port), 60, lambda: program.output)
        seen, empty, after = [], 0, 0
        end = time.monotonic() + START_S
        # From here on an error of the connection is an error of the test.
        while after < 20:
            assert program.process.poll() is None and time.monotonic() < end, program.output
            answer = httpx.get(f"{url}/", headers={"Accept": "text/html"}, timeout=60)
            kind = answer.headers.get("AI-Sandbox-Page", answer.headers["Content-Type"])
            seen.append((answer.status_code, kind))
            empty += not answer.content
            health = httpx.get(f"{url}/health", timeout=60)
            assert health.status_code in (200, 503)
            empty += not health.content
            after += health.status_code == 200
        yield Start(program, url, seen, empty)


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_first_answers_are_the_waiting_page(start: Start) -> None:
    assert start.seen[0] == (200, "chat-page-starts")


def test_then_open_webui_answers_on_the_same_port(start: Start) -> None:
    assert start.seen[-1] == (200, "text/html; charset=utf-8")


def test_every_answer_is_one_of_the_two_and_has_a_body(start: Start) -> None:
    counted = collections.Counter(start.seen)
    assert set(counted) == {(200, "chat-page-starts"), (200, "text/html; charset=utf-8")}
    assert start.empty == 0


def test_nothing_is_left_of_the_waiting_page(start: Start) -> None:
    wait_until(lambda: start.program.living() == [start.program.process.pid], 30)
    # Nor as a zombie.
    children = f"/proc/{start.program.process.pid}/task/{start.program.process.pid}/children"
    wait_until(lambda: not Path(children).read_text(), 30)


def test_a_killed_start_leaves_nothing(tmp_path: Path) -> None:
    port = free_port()
    settings = environment(tmp_path, UI_HOST="127.0.0.1", UI_PORT=str(port), MODEL_ID="some/model")
    with running([str(COMMAND), "ui"], tmp_path, settings) as program:
        wait_until(lambda: is_open(port), 60, lambda: program.output)
        wait_until(lambda: descendants(program.process.pid), 30)
        os.kill(program.process.pid, signal.SIGKILL)
        program.wait_for_nothing_left(10)
    assert not is_open(port)


def test_websockets_are_there(page: ChatPage) -> None:
    port = int(page.url.rsplit(":", 1)[1])
    request = (
        "GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\nOrigin: {page.url}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")


def test_open_webui_sees_who_asks(page: ChatPage) -> None:
    with httpx.Client(base_url=page.url, timeout=60) as client:
        response = client.get("/api/version")
        stream = response.extensions["network_stream"]
        host, port = stream.get_extra_info("client_addr")
    wait_until(lambda: f'{host}:{port} - "GET /api/version' in page.log.read_text(), 30)
