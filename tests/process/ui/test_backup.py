"""A backup of the real chat page while it runs, and a chat page that goes on from it."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx

from tests.process.api_service import free_port, run
from tests.process.ui.data_folder import MODEL, query
from tests.standins.chat_page import ApiStandIn, ChatPage, chat_page


def test_a_running_chat_page_is_backed_up_and_restored(
    page: ChatPage, visitor: httpx.Client, backend: ApiStandIn, tmp_path: Path
) -> None:
    visitor.post("/api/v1/chats/new", json={"chat": {"title": "backed up"}}).raise_for_status()
    upload = {"file": ("note.txt", b"uploaded", "text/plain")}
    added = visitor.post("/api/v1/files/", params={"process": False}, files=upload)
    added.raise_for_status()

    done = run(tmp_path, "backup", str(tmp_path / "kept"), UI_DATA_DIR=str(page.data))
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "kept").iterdir()
    assert str(made) in done.stdout
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    visitor.post("/api/v1/chats/new", json={"chat": {"title": "too late"}}).raise_for_status()

    data = tmp_path / "restored"
    settings = {"UI_DATA_DIR": str(data), "UI_PORT": str(free_port())}
    done = run(tmp_path, "restore", str(made), "--keep-settings", **settings)
    assert done.returncode == 0, done.stderr
    titles = [title for (title,) in query(data, "SELECT title FROM chat")]
    assert "backed up" in titles
    assert "too late" not in titles
    assert [file.read_text() for file in (data / "uploads").glob("*note.txt")] == ["uploaded"]
    log = tmp_path / "log"
    # Whoever was signed in is: the secret key is the same.
    session = {"Authorization": visitor.headers["Authorization"]}
    with chat_page(data, log, MODEL_ID=MODEL, API_PORT=str(backend.port)) as second:
        shown = httpx.get(f"{second.url}/api/v1/chats/", headers=session, timeout=60).json()
    assert "backed up" in [chat["title"] for chat in shown]


def test_nothing_is_restored_under_a_running_chat_page(page: ChatPage, tmp_path: Path) -> None:
    settings = {"UI_DATA_DIR": str(page.data), "UI_HOST": "127.0.0.1"}
    made = tmp_path / "kept"
    assert run(tmp_path, "backup", str(made), **settings).returncode == 0
    port = page.url.rsplit(":", 1)[1]
    done = run(
        tmp_path, "restore", str(next(made.iterdir())), "--keep-settings", UI_PORT=port, **settings
    )
    assert done.returncode == 1
    assert "UI_PORT" in done.stderr
    assert not list(page.data.glob("before-restore-*"))


def test_a_file_that_is_no_backup_changes_nothing(page: ChatPage, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tar.gz"
    wrong.write_bytes(b"no backup")
    done = run(tmp_path, "restore", str(wrong), UI_DATA_DIR=str(page.data))
    assert done.returncode == 1
    assert "is no whole backup" in done.stderr
    assert not list(page.data.glob("before-restore-*"))
