"""The chat page's database: copied while it is used, and put back without a moment without one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.ui import keep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a database in which one chat is written."""
    write(tmp_path / keep.DATABASE, "first")
    return tmp_path


def write(database: Path, title: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS chat (title TEXT)")
        connection.execute("INSERT INTO chat VALUES (?)", (title,))
        connection.commit()


def titles(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT title FROM chat")]


def program(what: str, folder: Path, given: bytes = b"") -> bytes:
    command = [sys.executable, "-I", keep.__file__, what, str(folder)]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def test_a_copy_has_what_is_only_in_the_log_of_a_program_that_uses_it(folder: Path) -> None:
    with closing(sqlite3.connect(folder / keep.DATABASE)) as used:
        used.execute("INSERT INTO chat VALUES ('second')")
        used.commit()
        copy = folder / "kept.db"
        copy.write_bytes(program("save", folder))
    assert titles(copy) == ["first", "second"]


def test_a_copy_leaves_no_file_behind(folder: Path) -> None:
    program("save", folder)
    assert not (folder / f"{keep.DATABASE}.copy").exists()


def test_what_was_there_is_kept_aside_when_a_copy_is_put_back(folder: Path) -> None:
    copy = program("save", folder)
    write(folder / keep.DATABASE, "later")
    aside = Path(program("restore", folder, copy).decode().strip())
    assert titles(folder / keep.DATABASE) == ["first"]
    assert titles(aside) == ["first", "later"]


def test_no_log_of_the_former_database_stays_beside_the_one_put_back(folder: Path) -> None:
    copy = program("save", folder)
    (folder / f"{keep.DATABASE}-wal").write_bytes(b"")
    program("restore", folder, copy)
    assert sorted(file.suffix for file in folder.glob("webui.db*")).count(".db-wal") == 0
