"""A program that runs as the chat page's user: its data to stdout, or from stdin into place.

``python -I keep.py save|restore FOLDER`` for the database alone, and ``pack|prove|unpack`` for
all of the folder, as a tar stream. Root keeps the copies and never opens a file in FOLDER: whoever
owns it could have put a link there. Only the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

DATABASE = "webui.db"
# What Open WebUI makes anew, and what earlier restores and upgrades have left.
LEFT_OUT = ("cache", "home", "static")
ASIDE = "before-restore-"
# The last in a stream that comes from us. A stream that breaks off between two files looks whole.
END = ".end-of-backup"
_SCRATCH = ".backup-"
_SQLITE = b"SQLite format 3\0"
_COUNTED = ("user", "chat", "file")


def save(folder: Path) -> None:
    """Write a consistent copy of the database to stdout; Open WebUI may be using it."""
    copy = folder / f"{DATABASE}.copy"
    copy.unlink(missing_ok=True)
    try:
        _snapshot(folder / DATABASE, copy)
        with copy.open("rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
    finally:
        copy.unlink(missing_ok=True)


def restore(folder: Path) -> None:
    """Put the database on stdin in the place of the one that is there, which is kept aside.

    Prints the name of the file aside. Open WebUI is not running.
    """
    target, new = folder / DATABASE, folder / f"{DATABASE}.restored"
    # Whatever an interrupted restore, or somebody else, has left there.
    new.unlink(missing_ok=True)
    with new.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
        stream.flush()
        os.fsync(stream.fileno())
    if target.exists():
        aside = folder / f"{DATABASE}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        _set_aside(target, aside)
        print(aside)
    # At no moment is there no database: Open WebUI would begin a new one.
    new.replace(target)
    _sync(folder)


def pack(folder: Path, out: IO[bytes]) -> None:
    """Write all of ``folder`` that is worth keeping; Open WebUI may be using it.

    Databases first and each as of one moment, then the files that they speak of.
    """
    for left in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    files = sorted(_files(folder))
    databases = [file for file in files if _is_database(file)]
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch,
        tarfile.open(fileobj=out, mode="w|") as tar,
    ):
        copy = Path(scratch) / "copy.db"
        for file in databases:
            _snapshot(file, copy)
            _add(tar, copy, file.relative_to(folder))
            copy.unlink()
        for file in sorted(set(_files(folder)) - set(databases)):
            # One that was removed meanwhile is not missed.
            with contextlib.suppress(FileNotFoundError):
                _add(tar, file, file.relative_to(folder))


def prove(stream: IO[bytes]) -> dict[str, int]:
    """Open every database in ``stream`` and look at all of it; what is in the chat page's.

    Raises ``ValueError`` when one is damaged, or the chat page's is not there.
    """
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fileobj=stream, mode="r|") as tar:
        for name, content in _content(tar, stream):
            head = content.read(len(_SQLITE))
            if head != _SQLITE:
                continue
            copy = Path(scratch) / "copy.db"
            with copy.open("wb") as file:
                file.write(head)
                shutil.copyfileobj(content, file)
            with closing(sqlite3.connect(copy)) as connection:
                found = connection.execute("PRAGMA integrity_check").fetchone()[0]
                if found != "ok":
                    raise ValueError(f"{name} is damaged: {found}")
                if str(name) == DATABASE:
                    for table in _COUNTED:
                        # The names are ours.
                        rows = connection.execute(f'SELECT count(*) FROM "{table}"')
                        counts[f"{table}s"] = int(rows.fetchone()[0])
            copy.unlink()
    if not counts:
        raise ValueError(f"there is no {DATABASE} in it")
    return counts


def unpack(folder: Path, stream: IO[bytes]) -> Path:
    """Put what ``stream`` has in the place of what is in ``folder``, which is kept aside.

    Returns where. Open WebUI is not running. At no moment is there no database, because Open WebUI
    would begin a new one.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
        new = Path(scratch)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for name, content in _content(tar, stream):
                target = new / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    shutil.copyfileobj(content, file)
                    file.flush()
                    os.fsync(file.fileno())
        aside = folder / f"{ASIDE}{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        aside.mkdir()
        database = folder / DATABASE
        if database.exists():
            _set_aside(database, aside / DATABASE)
        old = [entry for entry in _entries(folder) if entry.name != DATABASE]
        moves = [(entry, aside / entry.name) for entry in old]
        moves += [(e, folder / e.name) for e in new.iterdir() if e.name != DATABASE]
        _move_all(moves)
        (new / DATABASE).replace(database)
    _sync(folder)
    return aside


def _snapshot(database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        # Not a copy of the file: that would lose what is in the write-ahead log.
        connection.execute("VACUUM INTO ?", (str(copy),))


def _set_aside(database: Path, aside: Path) -> None:
    """Give ``database`` the second name ``aside``, all of it in that one file."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    aside.unlink(missing_ok=True)
    os.link(database, aside)


def _move_all(moves: list[tuple[Path, Path]]) -> None:
    """Do every one of ``moves``, or none."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            # Not a rename: uploads may be a file system of their own.
            shutil.move(source, target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            shutil.move(target, source)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _entries(folder: Path) -> list[Path]:
    return [
        entry
        for entry in folder.iterdir()
        if entry.name not in (*LEFT_OUT, END) and not entry.name.startswith((_SCRATCH, ASIDE))
    ]


def _files(folder: Path) -> Iterator[Path]:
    for top in _entries(folder):
        # Copies of the database that an upgrade has put aside, and logs that go with a database.
        if top.name.startswith(f"{DATABASE}.") or top.name.endswith(("-wal", "-shm", "-journal")):
            continue
        for file in (top, *top.rglob("*")) if top.is_dir() and not top.is_symlink() else (top,):
            if not file.name.endswith(("-wal", "-shm", "-journal")) and _is_regular(file):
                yield file


def _is_regular(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(file.lstat().st_mode)
    return False


def _is_database(file: Path) -> bool:
    with contextlib.suppress(OSError), file.open("rb") as stream:
        return stream.read(len(_SQLITE)) == _SQLITE
    return False


def _add(tar: tarfile.TarFile, file: Path, name: Path) -> None:
    with file.open("rb") as stream:
        member = tarfile.TarInfo(name.as_posix())
        status = os.fstat(stream.fileno())
        member.size, member.mtime, member.mode = status.st_size, int(status.st_mtime), 0o600
        tar.addfile(member, stream)


def _content(tar: tarfile.TarFile, stream: IO[bytes]) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    for member in tar:
        if member.name == END:
            # Whoever writes must not find us gone.
            while stream.read(1 << 16):
                pass
            return
        name = PurePosixPath(member.name)
        content = tar.extractfile(member) if member.isreg() else None
        if content is None or name.is_absolute() or ".." in name.parts or not name.parts:
            raise ValueError(f"{member.name} is no file of a backup")
        yield name, content
    raise ValueError("the end is missing")


if __name__ == "__main__":
    os.umask(0o077)
    what, place = sys.argv[1], Path(sys.argv[2])
    try:
        if what == "pack":
            pack(place, sys.stdout.buffer)
        elif what == "prove":
            print(json.dumps(prove(sys.stdin.buffer)))
        elif what == "unpack":
            print(unpack(place, sys.stdin.buffer))
        else:
            {"save": save, "restore": restore}[what](place)
    except (OSError, ValueError, sqlite3.Error, tarfile.TarError) as error:
        sys.exit(str(error))
