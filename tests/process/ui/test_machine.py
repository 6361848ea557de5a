"""What the chat page leaves on the machine: its process, files and accounts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from sandbox.ui import accounts, credentials, provision
from tests.process.ui.data_folder import PATHS, prepare, query
from tests.standins.chat_page import ChatPage, run_ui


def test_the_process_is_open_webui_itself_and_shows_no_secret(page: ChatPage) -> None:
    process = Path(f"/proc/{page.process.pid}")
    words = (process / "cmdline").read_text().split("\0")
    assert words[0] == str(PATHS.ui_env / "bin/python")
    assert (process / "comm").read_text() == "open-webui\n"
    for secret in (credentials.secret_key(page.data), credentials.admin_password(page.data)):
        assert secret not in words
        assert secret not in page.log.read_text()


def test_only_the_owner_can_enter_the_data_folder(page: ChatPage) -> None:
    assert page.data.stat().st_mode & 0o777 == 0o700
    assert (page.data / "webui.db").stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_beside_open_webuis_code(page: ChatPage) -> None:
    started = (page.data / ".webui_secret_key").stat().st_mtime
    (package,) = PATHS.ui_env.glob("lib/python*/site-packages/open_webui")
    newer = [
        file
        for file in package.rglob("*")
        if file.stat().st_mtime > started and "__pycache__" not in str(file)
    ]
    assert newer == []


def test_no_embedding_model_is_looked_for_at_start(page: ChatPage) -> None:
    assert "SentenceTransformer" not in page.log.read_text()
    assert not (page.data / "home/huggingface").exists()


def test_a_port_in_use_is_explained_in_two_lines(page: ChatPage, tmp_path: Path) -> None:
    port = page.url.rsplit(":", 1)[1]
    settings = {"UI_HOST": "127.0.0.1", "UI_PORT": port, "UI_DATA_DIR": str(tmp_path / "data")}
    with run_ui(settings, stderr=subprocess.PIPE) as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert said.decode().splitlines() == [
        f"ai-sandbox: Port {port} is in use by PID {page.process.pid} (open-webui).",
        "Stop it, or set UI_PORT to another port.",
    ]


def test_a_leftover_administrator_of_open_mode_is_a_plain_user_there(data: Path) -> None:
    query(data, "UPDATE user SET role = 'admin' WHERE email = ?", provision.VISITOR)
    prepare(data, "open")
    found = query(data, "SELECT role FROM user WHERE email = ?", provision.VISITOR)
    assert found == [("user",)]


def test_accounts_that_are_right_are_not_touched(data: Path) -> None:
    before = query(data, "SELECT id, role, password, session_stamp FROM user JOIN auth USING (id)")
    prepare(data, "open")
    after = query(data, "SELECT id, role, password, session_stamp FROM user JOIN auth USING (id)")
    assert after == before


def test_accounts_are_read_after_a_power_cut(page: ChatPage, tmp_path: Path) -> None:
    for file in page.data.glob("webui.db*"):
        shutil.copy(file, tmp_path / file.name)
    assert (tmp_path / "webui.db-wal").exists()
    assert accounts.are_right(tmp_path / "webui.db", "open")


def test_a_first_start_that_was_cut_short_leaves_no_broken_database(tmp_path: Path) -> None:
    (tmp_path / "webui.db.new").write_bytes(b"half made")
    prepare(tmp_path, "open")
    assert accounts.are_right(tmp_path / "webui.db", "open")
    assert not list(tmp_path.glob("webui.db.new*"))
