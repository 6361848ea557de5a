"""Backups: whole or refused, put back as they were, thinned out."""

from __future__ import annotations

import gzip
import sqlite3
import stat
import tarfile
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.ui import backups, keep
from sandbox.ui.backups import Keeper


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a chat, an upload, a vector store, a secret and a cache."""
    folder = tmp_path / "open-webui"
    (folder / "uploads").mkdir(parents=True)
    (folder / "uploads/a.txt").write_text("uploaded")
    (folder / "vector_db").mkdir()
    (folder / "cache").mkdir()
    (folder / "cache/big").write_text("made anew")
    (folder / ".webui_secret_key").write_text("secret")
    write(folder / keep.DATABASE, "first")
    write(folder / "vector_db/chroma.sqlite3", "vector")
    return folder


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    file = tmp_path / "ai-sandbox.env"
    file.write_text("MODEL_ID=builtin:guide\n")
    return file


def write(database: Path, title: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for table in ("chat", "user", "file"):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (title TEXT)")
        connection.execute("INSERT INTO chat VALUES (?)", (title,))
        connection.commit()


def titles(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT title FROM chat")]


def test_all_comes_back_and_what_was_there_is_kept_aside(
    data: Path, env_file: Path, tmp_path: Path
) -> None:
    made, checked = backups.make(
        tmp_path / "kept", Keeper(data), {"env": env_file, "keys": tmp_path / "absent"}
    )
    assert checked.counts == {"chats": 1, "users": 0, "files": 0}
    assert checked.settings == {"env": env_file.read_bytes()}
    write(data / keep.DATABASE, "later")
    (data / "uploads/a.txt").write_text("changed")
    (data / "uploads/b.txt").write_text("new")
    aside = backups.put_back(made, Keeper(data))
    assert titles(data / keep.DATABASE) == ["first"]
    assert titles(data / "vector_db/chroma.sqlite3") == ["vector"]
    assert [file.name for file in (data / "uploads").iterdir()] == ["a.txt"]
    assert (data / "uploads/a.txt").read_text() == "uploaded"
    assert (data / ".webui_secret_key").read_text() == "secret"
    assert titles(aside / keep.DATABASE) == ["first", "later"]
    assert (aside / "uploads/b.txt").read_text() == "new"
    assert (data / "cache/big").exists()


def test_moves_are_all_done_or_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("kept")
    moves = [(tmp_path / "a", tmp_path / "b"), (tmp_path / "absent", tmp_path / "c")]
    with pytest.raises(FileNotFoundError):
        keep._move_all(moves)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a/file").read_text() == "kept"


def test_what_another_program_has_just_written_is_in_it(data: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / keep.DATABASE)) as used:
        used.execute("INSERT INTO chat VALUES ('second')")
        used.commit()
        _, checked = backups.make(tmp_path, Keeper(data), {})
    assert checked.counts["chats"] == 2


def test_it_is_for_its_owner_alone_and_has_no_caches(data: Path, tmp_path: Path) -> None:
    made, _ = backups.make(tmp_path, Keeper(data), {})
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    with tarfile.open(made) as tar:
        assert sorted(tar.getnames()) == [
            "data/.webui_secret_key",
            "data/uploads/a.txt",
            "data/vector_db/chroma.sqlite3",
            "data/webui.db",
            "manifest.json",
        ]


def test_a_link_in_the_data_folder_is_not_followed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root's own")
    (data / "uploads/link").symlink_to(tmp_path / "secret")
    (data / "folder").symlink_to(tmp_path)
    made, _ = backups.make(tmp_path, Keeper(data), {})
    with tarfile.open(made) as tar:
        assert not [name for name in tar.getnames() if "link" in name or "folder" in name]


def test_a_damaged_database_is_no_backup(data: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / keep.DATABASE)) as connection:
        connection.execute("DROP TABLE chat")
    with pytest.raises(SandboxError, match="no such table: chat"):
        backups.make(tmp_path / "kept", Keeper(data), {})
    assert not list((tmp_path / "kept").iterdir())


def test_a_folder_without_chats_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="nothing to back up"):
        backups.make(tmp_path, Keeper(tmp_path), {})


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_part_of_a_backup_is_refused(data: Path, tmp_path: Path, part: float) -> None:
    made, _ = backups.make(tmp_path, Keeper(data), {})
    content = made.read_bytes()
    made.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(SandboxError):
        backups.check(made, Keeper(data))


def test_a_changed_file_is_refused(data: Path, tmp_path: Path) -> None:
    made, _ = backups.make(tmp_path, Keeper(data), {})
    plain = gzip.decompress(made.read_bytes())
    assert plain.count(b"uploaded") == 1
    made.write_bytes(gzip.compress(plain.replace(b"uploaded", b"UPLOADED")))
    with pytest.raises(SandboxError, match=r"data/uploads/a\.txt is not what was backed up"):
        backups.check(made, Keeper(data))


@pytest.mark.parametrize("name", ["/etc/passwd", "data/../../x", "other"])
def test_a_strange_archive_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    strange = tmp_path / "strange.tar.gz"
    with tarfile.open(strange, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, BytesIO(b"x"))
    with pytest.raises(SandboxError, match="does not belong in one"):
        backups.check(strange, Keeper(data))


@pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"no tar")])
def test_another_file_is_refused(data: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(SandboxError, match="no whole backup"):
        backups.check(file, Keeper(data))


def test_a_file_that_is_not_there_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="cannot be read: No such file"):
        backups.check(tmp_path / "absent", Keeper(data))


def test_a_week_of_days_and_a_month_of_weeks_are_kept(tmp_path: Path) -> None:
    for day in range(1, 31):
        (tmp_path / f"ai-sandbox-202611{day:02}-030000.tar.gz").touch()
    (tmp_path / "mine.tar.gz").touch()
    backups.thin_out(tmp_path)
    days = [int(file.name[17:19]) for file in backups.newest(tmp_path)]
    # The Sundays are the 22nd, 15th, 8th and 1st; the 23rd is the last of its week that is left.
    assert days == [30, 29, 28, 27, 26, 25, 24, 23, 22, 15, 8]
    assert (tmp_path / "mine.tar.gz").exists()


def test_the_time_of_the_last_is_known_to_everybody(data: Path, tmp_path: Path) -> None:
    assert backups.last(tmp_path) is None
    _, checked = backups.make(tmp_path, Keeper(data), {})
    backups.record(tmp_path, checked)
    assert backups.last(tmp_path) == {"time": round(checked.made, 3)}
    assert stat.S_IMODE((tmp_path / backups.RECORD).stat().st_mode) == 0o644
