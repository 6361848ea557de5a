"""More connections than may be; no model is needed to be refused."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx

from tests.process.api_service import serving
from tests.process.processes import wait_until

MOST = 16


def test_too_many_connections_are_refused_until_one_ends(tmp_path: Path) -> None:
    with serving(tmp_path, MODEL_ID="/nowhere", MAX_CONNECTIONS=str(MOST)) as service:
        service.wait_for("failed")
        address = ("127.0.0.1", int(service.url.rsplit(":", 1)[1]))
        # Those of the questions above may still be counted.
        held: list[socket.socket] = []
        wait_until(lambda: _is_refused(address, held), 60, service.tell)
        assert len(held) >= MOST
        for connection in held:
            connection.close()
        wait_until(lambda: _answers(service.url), 60, service.tell)


def _is_refused(address: tuple[str, int], held: list[socket.socket]) -> bool:
    connection = socket.create_connection(address, timeout=0.3)
    try:
        answer = connection.recv(1000)
    except TimeoutError:
        # It waits for a request.
        held.append(connection)
        return False
    connection.close()
    return answer.startswith(b"HTTP/1.1 503 ") and b"retry-after" in answer


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False
