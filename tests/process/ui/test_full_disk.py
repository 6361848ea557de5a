"""A disk that is too small for a model, or becomes full meanwhile, costs no chat."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.process.api_service import COMMAND, ApiService, environment, free_port, serving
from tests.process.disks import small_disk
from tests.process.hub_service import hub, make_repository
from tests.process.processes import running, wait_until
from tests.standins.chat_page import ChatPage

FITS, LARGE = "owner/fits", "owner/large"
_LOOK = (
    "import sqlite3, sys;"
    "print(*sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone())"
)


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """Two models for a disk of 64 MB, which are never loaded."""
    root = tmp_path / "hub"
    for name, shard_bytes in ((FITS, 6_000_000), (LARGE, 25_000_000)):
        make_repository(root / name, shard_bytes)
    return root


def test_a_full_disk_costs_the_download_and_no_chat(
    tmp_path: Path, repositories: Path, made_open: Path
) -> None:
    env_file = tmp_path / "box.env"
    with (
        hub(tmp_path, bytes_per_second=500_000) as far_end,
        small_disk(tmp_path / "disk", "size=64m") as disk,
    ):
        settings = f"HF_ENDPOINT={far_end.url}\nMODELS_DIR={disk.place}/models\nMODEL_ID="
        env_file.write_text(f"{settings}{LARGE}\n")
        shutil.copytree(made_open, disk.inside / "open-webui")
        ports = {"API_PORT": str(free_port()), "UI_PORT": str(free_port())}
        places = {"MODELS_DIR": f"{disk.place}/models", "UI_DATA_DIR": f"{disk.place}/open-webui"}
        variables = environment(tmp_path, UI_HOST="127.0.0.1", **ports, **places)
        with (
            serving(tmp_path, env_file, disk.under, **ports, **places) as service,
            running([*disk.under, str(COMMAND), "ui"], tmp_path, variables) as program,
        ):
            page = ChatPage(
                f"http://127.0.0.1:{ports['UI_PORT']}",
                program.process,
                disk.inside / "open-webui",
                program.output_file,
            )
            status = service.wait_for("failed")
            assert f"{LARGE} needs " in status["message"]
            assert "are free there" in status["message"]
            # The plan has read the headers of the weights, and that is all.
            assert sum(far_end.served().values()) < 1_000_000

            wait_until(lambda: is_ready(page), 240, page.log.read_text)
            write_chat(page, "before")
            env_file.write_text(f"{settings}{FITS}\n")
            os.kill(service.program.process.pid, signal.SIGHUP)
            wait_until(lambda: arrived(disk.inside) > 2_000_000, 60, service.tell)
            disk.fill()
            assert_failed_for_want_of_space(service)
            assert arrived(disk.inside) == 0
            # The space is there for others again.
            write_chat(page, "after")
            assert titles(page) >= {"before", "after"}
            # From within: SQLite does not find the files of a disk that it does not see.
            look = [*disk.under, sys.executable, "-c", _LOOK, f"{disk.place}/open-webui/webui.db"]
            assert subprocess.run(look, capture_output=True, text=True).stdout == "ok\n"


def is_ready(page: ChatPage) -> bool:
    assert page.process.poll() is None, page.log.read_text()
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{page.url}/ready").status_code == 200
    return False


def write_chat(page: ChatPage, title: str) -> None:
    with page.sign_in() as client:
        client.post("/api/v1/chats/new", json={"chat": {"title": title}}).raise_for_status()


def titles(page: ChatPage) -> set[str]:
    with page.sign_in() as client:
        return {chat["title"] for chat in client.get("/api/v1/chats/").json()}


def arrived(disk: Path) -> int:
    """The bytes of unfinished files."""
    total = 0
    for file in (disk / "models").rglob("*.incomplete"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def assert_failed_for_want_of_space(service: ApiService) -> None:
    wait_until(lambda: service.status()["state"] == "failed", 60, service.tell)
    message = service.status()["message"]
    assert "became full while" in message
    assert "MB are needed" in message
    assert "are free now" in message
