"""`ai-sandbox up` with the real engine and the real chat page."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.processes import Program, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
START_S = 180


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def up(folder: Path) -> Iterator[Program]:
    """Both services, ready."""
    settings = {
        "MODEL_ID": "builtin:guide",
        "API_HOST": "127.0.0.1",
        "API_PORT": str(free_port()),
        "UI_HOST": "127.0.0.1",
        "UI_PORT": str(free_port()),
        "UI_DATA_DIR": str(folder / "open-webui"),
    }
    with running([str(ROOT / ".venv/bin/ai-sandbox"), "up"], folder, settings) as program:
        program.wait_for("API ready after", START_S)
        program.wait_for("Chat page ready after", START_S)
        yield program


def names(program: Program) -> str:
    return " ".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in program.living())


def test_ctrl_c_ends_all_after_the_chat_page_was_killed_and_came_back(tmp_path: Path) -> None:
    with up(tmp_path) as it:
        (chat,) = [p for p in it.living() if Path(f"/proc/{p}/comm").read_text() == "open-webui\n"]
        os.kill(chat, signal.SIGKILL)
        it.wait_for("chat ended by SIGKILL; it starts again")
        wait_until(lambda: len(re.findall(r"chat \| Open WebUI starts", it.output)) == 2, 60)
        it.process.send_signal(signal.SIGINT)
        # Ctrl-C stops everything within 10 s.
        assert it.process.wait(10) == 0
        assert it.living() == [], names(it)


@pytest.mark.long
def test_a_killed_up_leaves_nothing(tmp_path: Path) -> None:
    with up(tmp_path) as it:
        assert len(it.living()) > 3, names(it)
        it.process.kill()
        it.wait_for_nothing_left(5)
