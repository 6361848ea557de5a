"""What systemd is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sandbox.host.notify import notify


def test_fields_are_lines_of_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify(READY="1", STATUS="two\nlines")
        assert manager.recv(1000) == b"READY=1\nSTATUS=two lines"


def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0ai-sandbox-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@ai-sandbox-test-notify")
        notify(STOPPING="1")
        assert manager.recv(1000) == b"STOPPING=1"


def test_a_service_manager_that_is_gone_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify(READY="1")


def test_without_a_service_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify(READY="1")
