"""A port that is in use is explained by naming who holds it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.host import ports


def listener(host: str = "127.0.0.1") -> socket.socket:
    made = socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    )
    return made


def test_a_free_port_passes() -> None:
    with listener() as probe:
        port = probe.getsockname()[1]
    ports.check_port_free("127.0.0.1", port, "UI_PORT")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_names_the_process_and_the_setting(host: str) -> None:
    with listener() as held:
        port = held.getsockname()[1]
        with pytest.raises(SandboxError) as error:
            ports.check_port_free(host, port, "UI_PORT")
    name = Path("/proc/self/comm").read_text().strip()
    assert error.value.message == f"Port {port} is in use by PID {os.getpid()} ({name})."
    assert error.value.hint == "Stop it, or set UI_PORT to another port."


def test_a_closed_connection_does_not_make_the_port_busy() -> None:
    with listener() as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            # Closed first here: TIME_WAIT stays on this port.
            accepted.close()
    ports.check_port_free("127.0.0.1", port, "UI_PORT")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SandboxError, match=r"API_HOST is 192\.0\.2\.1, which is not an address"):
        ports.check_port_free("192.0.2.1", 8000, "API_PORT")


def test_a_host_that_is_no_address_is_refused() -> None:
    with pytest.raises(SandboxError, match="UI_HOST is 'not an address'"):
        ports.check_port_free("not an address", 3000, "UI_PORT")


def test_nobody_holds_a_port_that_is_free() -> None:
    with listener() as probe:
        port = probe.getsockname()[1]
    assert ports.find_holder(port) is None
