"""Backups of a whole AI Sandbox in one file each: the chat page's data, its secrets, the settings.

A backup gets its name only after it was read back and its databases were opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sandbox import __version__
from sandbox.errors import SandboxError
from sandbox.ui import keep

# Of the newest, all; and of each of the weeks before, the last.
KEPT, KEPT_WEEKS = 7, 4
RECORD = "last-backup.json"
_FORMAT = 1
_LONGEST_SECONDS = 86400.0
_DATA, _SETTINGS, _MANIFEST = "data", "settings", "manifest.json"
_NAME = re.compile(r"ai-sandbox-(\d{8})-\d{6}\.tar\.gz")
_REFUSED = {
    "pack": "The chats in {} could not be backed up",
    "prove": "The backup cannot be opened",
    "unpack": "The chats in {} could not be restored",
}
_HINTS = {
    "pack": "Is the disk full, or the database damaged?",
    "prove": "Nothing was changed. Take another one, and tell us if it was made just now.",
    "unpack": "What was there is there still, or in before-restore-* there. Is the disk full?",
}
_BAD = (tarfile.TarError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Keeper:
    """How the data folder's owner is asked: ``as_user`` is what a command begins with."""

    data: Path
    as_user: Sequence[str] = ()
    environment: Mapping[str, str] | None = None

    @contextlib.contextmanager
    def ask(self, what: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``keep.py what``; raises ``SandboxError`` with its last line when it fails."""
        program = [sys.executable, "-I", keep.__file__, what, str(self.data)]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [*self.as_user, *program],
                stdin=subprocess.DEVNULL if what == "pack" else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=self.environment,
                cwd="/",
            )
            # When it ends early, what it says matters more than the stream that breaks off.
            early = tarfile.ReadError if what == "pack" else BrokenPipeError
            try:
                yield process
            except early:
                if self._end(process) == 0:
                    raise
            except BaseException:
                # In its unit root may not.
                with contextlib.suppress(PermissionError):
                    process.kill()
                raise
            finally:
                self._end(process)
            if process.returncode:
                said.seek(0)
                lines = said.read().decode(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else f"exit status {process.returncode}"
                raise SandboxError(f"{_REFUSED[what].format(self.data)}: {reason}.", _HINTS[what])

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        return process.wait()


@dataclass(frozen=True)
class Checked:
    """A backup that is whole; ``settings`` are the files that ``make`` was given, by name."""

    made: float
    version: str
    counts: dict[str, int]
    settings: dict[str, bytes]


def make(folder: Path, keeper: Keeper, settings: Mapping[str, Path]) -> tuple[Path, Checked]:
    """Back up to a new file in ``folder``, and prove it. Raises ``SandboxError``.

    ``settings`` are files by the names that they have in it; one may be absent. Nothing half-made
    is left after an error.
    """
    if not (keeper.data / keep.DATABASE).exists():
        raise SandboxError(
            f"There is nothing to back up: {keeper.data} has no {keep.DATABASE}.",
            "The first start of the chat page makes it; UI_DATA_DIR says where.",
        )
    moment = time.time()
    name = time.strftime("ai-sandbox-%Y%m%d-%H%M%S.tar.gz", time.gmtime(moment))
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in folder.glob(".ai-sandbox-*.tar.gz.*"):
            # Of a backup that was killed.
            if moment - left.stat().st_mtime > _LONGEST_SECONDS:
                left.unlink()
        # Made with mode 0600.
        handle, made = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        new = Path(made)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(file, keeper, settings, moment)
                file.flush()
                os.fsync(file.fileno())
            checked = check(new, keeper)
            new.rename(folder / name)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise SandboxError(
            f"The backup could not be written to {folder}: {error.strerror or error}.",
            "Make room there, or name another folder: ai-sandbox backup FOLDER",
        ) from None
    return folder / name, checked


def check(backup: Path, keeper: Keeper) -> Checked:
    """Read all of ``backup`` and open its databases. Raises ``SandboxError``."""
    with _opened(backup) as tar, keeper.ask("prove") as process:
        manifest, settings = _pass_on(tar, process)
        assert process.stdout
        said = process.stdout.read()
    try:
        return Checked(manifest["made"], manifest["version"], json.loads(said), settings)
    except _BAD as error:
        raise _not_whole(backup, error) from None


def put_back(backup: Path, keeper: Keeper) -> Path:
    """Have the data of ``backup``, which was checked, in the data folder; where the old is now.

    The chat page is not running. Raises ``SandboxError``.
    """
    with _opened(backup) as tar, keeper.ask("unpack") as process:
        _pass_on(tar, process)
        assert process.stdout
        aside = process.stdout.read().decode().strip()
    return Path(aside)


def newest(folder: Path) -> list[Path]:
    """The backups in ``folder``, the newest first."""
    found = [file for file in folder.glob("*.tar.gz") if _NAME.fullmatch(file.name)]
    return sorted(found, reverse=True)


def thin_out(folder: Path) -> None:
    """Remove old backups from ``folder``."""
    weeks: set[str] = set()
    for number, backup in enumerate(newest(folder)):
        if number < KEPT:
            continue
        week = time.strftime("%G-%V", time.strptime(backup.name[11:19], "%Y%m%d"))
        if week in weeks or len(weeks) >= KEPT_WEEKS:
            backup.unlink()
        weeks.add(week)


def record(folder: Path, checked: Checked) -> None:
    """Tell everybody, the API among them, when the last good backup was made."""
    new = folder / f".{RECORD}.new"
    folder.chmod(0o755)
    new.write_text(json.dumps({"time": round(checked.made, 3)}))
    new.chmod(0o644)
    new.replace(folder / RECORD)


def last(folder: Path) -> dict[str, Any] | None:
    """When the last good backup was made (``time``, Unix time); None when none is known."""
    try:
        found = json.loads((folder / RECORD).read_text())
        return {"time": float(found["time"])}
    except (OSError, *_BAD):
        return None


def _write(file: IO[bytes], keeper: Keeper, settings: Mapping[str, Path], moment: float) -> None:
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as out:

        def add(name: str, size: int, content: IO[bytes], made: float) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = size, int(made), 0o600
            hashing = _Hashing(content)
            out.addfile(member, hashing)
            sums[name] = hashing.hash.hexdigest()

        for name, place in settings.items():
            if place.exists():
                text = place.read_bytes()
                add(f"{_SETTINGS}/{name}", len(text), BytesIO(text), moment)
        with keeper.ask("pack") as process:
            assert process.stdout
            with tarfile.open(fileobj=process.stdout, mode="r|") as data:
                for member in data:
                    content = data.extractfile(member)
                    assert content, member.name
                    add(f"{_DATA}/{member.name}", member.size, content, member.mtime)
        manifest = {"format": _FORMAT, "made": moment, "version": __version__, "sha256": sums}
        text = json.dumps(manifest, indent=1).encode()
        add(_MANIFEST, len(text), BytesIO(text), moment)


class _Hashing:
    """A stream that hashes what is read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._stream.read(size)
        self.hash.update(part)
        return part


@contextlib.contextmanager
def _opened(backup: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(backup, mode="r:gz") as tar:
            yield tar
    except SandboxError:
        raise
    except OSError as error:
        if error.errno is None:
            # gzip's own.
            raise _not_whole(backup, error) from None
        raise SandboxError(
            f"{backup} cannot be read: {error.strerror}.",
            "Name a file that `ai-sandbox backup` made.",
        ) from None
    except _BAD as error:
        raise _not_whole(backup, error) from None


def _not_whole(backup: Path, error: BaseException) -> SandboxError:
    return SandboxError(
        f"{backup} is no whole backup of an AI Sandbox: {error}.",
        "Nothing was changed. Take another one.",
    )


def _pass_on(
    tar: tarfile.TarFile, process: subprocess.Popen[bytes]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Give the data in ``tar`` to ``process``; the manifest, which everything agrees with, and
    the settings. Raises ``ValueError`` and the like for what is not whole."""
    assert process.stdin
    sums: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    with tarfile.open(fileobj=process.stdin, mode="w|") as out:
        for member in tar:
            name = PurePosixPath(member.name)
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or name.is_absolute() or ".." in name.parts:
                raise ValueError(f"{member.name} does not belong in one")
            hashing = _Hashing(content)
            if name.parts[0] == _DATA and len(name.parts) > 1:
                inner = tarfile.TarInfo("/".join(name.parts[1:]))
                inner.size, inner.mtime = member.size, member.mtime
                out.addfile(inner, hashing)
            elif name.parts[0] == _SETTINGS or member.name == _MANIFEST:
                kept[member.name] = hashing.read()
            else:
                raise ValueError(f"{member.name} does not belong in one")
            sums[member.name] = hashing.hash.hexdigest()
        manifest = _agreeing(kept, sums)
        out.addfile(tarfile.TarInfo(keep.END))
    process.stdin.close()
    return manifest, {PurePosixPath(name).name: kept[name] for name in kept if name != _MANIFEST}


def _agreeing(kept: dict[str, bytes], sums: dict[str, str]) -> dict[str, Any]:
    """The manifest, when everything agrees with it; raises ``ValueError``."""
    sums.pop(_MANIFEST, None)
    if _MANIFEST not in kept:
        raise ValueError("its end is missing")
    manifest: dict[str, Any] = json.loads(kept[_MANIFEST])
    if manifest["format"] != _FORMAT:
        raise ValueError("it was made by a newer version")
    if manifest["sha256"] != sums:
        wrong = {name for name, _ in manifest["sha256"].items() ^ sums.items()}
        raise ValueError(f"{sorted(wrong)[0]} is not what was backed up")
    return manifest
