"""`ai-sandbox up` and its supervisor: what dies with what, and what starts again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.api_service import free_port
from tests.process.processes import Program, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
AI_SANDBOX = ROOT / ".venv/bin/ai-sandbox"
SUPERVISE = Path(__file__).parent / "supervise_program.py"
# Serves on, with a child that has a child.
STEADY = "sh -c 'sleep 1000; true' & echo up; wait"
STUBBORN = "trap '' INT; (trap '' INT; sleep 1000) & echo up; while true; do sleep 1; done"


@contextlib.contextmanager
def supervising(folder: Path, *services: str) -> Iterator[Program]:
    with running([sys.executable, str(SUPERVISE), *services], folder) as program:
        yield program


def test_lines_carry_the_name_of_their_service(tmp_path: Path) -> None:
    with supervising(tmp_path, "api=echo one; sleep 1000", "chat=echo two >&2; sleep 1000") as it:
        it.wait_for("api  | one\n")
        it.wait_for("chat | two\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    with supervising(tmp_path, f"api={STEADY}", f"chat={STEADY}") as it:
        it.wait_for("api  | up")
        it.wait_for("chat | up")
        it.process.send_signal(number)
        assert it.process.wait(20) == 0
        assert it.living() == []


def test_signals_that_come_together_end_all(tmp_path: Path) -> None:
    with supervising(tmp_path, f"api={STUBBORN}") as it:
        it.wait_for("api  | up")
        for _ in range(2000):
            # As from a terminal, make and whoever started it, at the same time.
            it.process.send_signal(signal.SIGINT)
            it.process.send_signal(signal.SIGTERM)
            it.process.send_signal(signal.SIGHUP)
        assert it.process.wait(20) == 0
        assert it.living() == []


def test_what_does_not_obey_is_killed(tmp_path: Path) -> None:
    with supervising(tmp_path, f"api={STUBBORN}") as it:
        it.wait_for("api  | up")
        it.process.send_signal(signal.SIGINT)
        assert it.process.wait(20) == 0
        assert it.living() == []


def test_a_killed_supervisor_leaves_no_service(tmp_path: Path) -> None:
    with supervising(tmp_path, "api=echo up; exec sleep 1000") as it:
        it.wait_for("api  | up")
        it.process.kill()
        it.wait_for_nothing_left(5)


def test_a_service_that_dies_is_started_again(tmp_path: Path) -> None:
    with supervising(tmp_path, "chat=echo up $$; exec sleep 1000") as it:
        it.wait_for("chat | up")
        pid = int(it.output.split("chat | up ")[1].split()[0])
        os.kill(pid, signal.SIGKILL)
        it.wait_for("chat ended by SIGKILL; it starts again")
        wait_until(lambda: it.output.count("chat | up") == 2, 20)


def test_what_a_dead_service_left_is_ended_before_its_next_start(tmp_path: Path) -> None:
    with supervising(tmp_path, "api=sleep 1000 & echo child $!; exit 3") as it:
        it.wait_for("api ended with exit code 3")
        child = int(it.output.split("child ")[1].split()[0])
        wait_until(lambda: child not in it.living(), 10)


def test_a_wrong_setting_ends_all_with_78(tmp_path: Path) -> None:
    with supervising(tmp_path, f"api={STEADY}", "chat=exit 78") as it:
        assert it.process.wait(20) == 78
        assert it.living() == []
        assert "chat found a wrong setting" in it.output


def test_five_deaths_end_all_with_1(tmp_path: Path) -> None:
    with supervising(tmp_path, f"api={STEADY}", "chat=echo up; exit 1") as it:
        assert it.process.wait(30) == 1
        assert it.output.count("chat | up") == 5
        assert it.living() == []


@pytest.mark.parametrize("setting", ["API_PORT", "UI_PORT"])
def test_a_port_in_use_names_its_process_and_starts_nothing(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"API_HOST": "127.0.0.1", "UI_HOST": "127.0.0.1"}
        settings |= {"API_PORT": str(free_port()), "UI_PORT": str(free_port()), setting: str(port)}
        with running([str(AI_SANDBOX), "up"], tmp_path, settings) as it:
            assert it.process.wait(30) == 1
        assert f"Port {port} is in use by PID {os.getpid()}" in it.output
        assert "Starting" not in it.output


def test_a_name_on_the_line_of_make_that_is_no_setting_is_refused(tmp_path: Path) -> None:
    with running([str(AI_SANDBOX), "up", "--given", "API_PROT UI_PORT"], tmp_path) as it:
        assert it.process.wait(30) == 78
    assert "API_PROT (on the command line of make) is not a setting." in it.output
    assert "Did you mean API_PORT?" in it.output
