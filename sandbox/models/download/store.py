"""Writes the cache of one repository: who may write, what is there, the links at the end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sandbox.models.cache import CONFIGS, PARTIAL, Repository
from sandbox.models.download.hub import RemoteFile
from sandbox.models.download.progress import Meter, Report
from sandbox.models.download.transfer import StoppedError, is_as_on_the_hub
from sandbox.models.source import is_sound

_POLL_SECONDS = 0.2
# A partial file that another program wrote so recently may be growing still.
_ABANDONED_SECONDS = 600.0


class Plan:
    """The lock of a repository, and in it what its holder fetches, for those who wait."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def publish(self, files: Iterable[RemoteFile]) -> None:
        """Tell those who wait what the whole is."""
        text = json.dumps({file.etag: file.size for file in files}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


@contextlib.contextmanager
def locked(repository: Repository, report: Report, stop: threading.Event) -> Iterator[Plan]:
    """Be the only one who downloads ``repository``; waits, with the progress of who does now.

    The lock ends with the process that holds it, however that ends. Raises ``OSError``, and
    ``StoppedError`` when ``stop`` is set before the lock is free.
    """
    path = repository.lock_file
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        if not _try_lock(descriptor):
            with Meter(lambda: _measure_plan(repository), report):
                while not _try_lock(descriptor):
                    if stop.wait(_POLL_SECONDS):
                        raise StoppedError
        plan = Plan(descriptor)
        plan.publish([])
        yield plan
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def not_in_use(repository: Repository) -> Iterator[bool]:
    """Let nobody download ``repository`` meanwhile; False when somebody does already."""
    # Without a lock it came in another way. None is made here: it would be of the wrong user.
    descriptor = None
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(repository.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor is None or _try_lock(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _measure_plan(repository: Repository) -> tuple[int, int | None]:
    """What is there of the plan of who holds the lock, and the whole of it, in bytes."""
    try:
        plan: dict[str, int] = json.loads(repository.lock_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Being written at this moment.
        return 0, None
    return bytes_here(repository, plan), sum(plan.values()) or None


def bytes_here(repository: Repository, sizes: dict[str, int]) -> int:
    """How many bytes of the blobs ``sizes`` (etag to bytes) are on disk."""
    here = 0
    for etag, size in sizes.items():
        for path in (repository.blobs / etag, repository.blobs / f"{etag}{PARTIAL}"):
            with contextlib.suppress(FileNotFoundError):
                here += min(size, path.stat().st_size)
                break
    return here


def missing(repository: Repository, files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """The files that are not whole on disk, each content once; what was damaged is removed."""
    absent = {}
    for file in files:
        blob = repository.blobs / file.etag
        try:
            if blob.stat().st_size == file.size and not _was_damaged(file, blob):
                continue
            blob.unlink()
        except FileNotFoundError:
            pass
        absent[file.etag] = file
    return list(absent.values())


def _was_damaged(file: RemoteFile, blob: Path) -> bool:
    """True for weights that came whole and are not any more, as after a power cut.

    The checksum of all would take minutes: only what looks broken is read.
    """
    suspicious = file.path.endswith(".safetensors") and not is_sound(blob)
    return suspicious and not is_as_on_the_hub(file, blob)


def remove_partials(repository: Repository, keep: Iterable[RemoteFile] = ()) -> None:
    """Remove what earlier downloads left unfinished, but for the beginnings of ``keep``.

    huggingface_hub gives its own a name that nobody finds again: ETAG.RANDOM.incomplete.
    """
    kept = {f"{file.etag}{PARTIAL}" for file in keep}
    for path in repository.blobs.glob(f"*{PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):
            foreign = path.name.count(".") > 1
            growing = foreign and path.stat().st_mtime > time.time() - _ABANDONED_SECONDS
            if path.name not in kept and not growing:
                path.unlink()


def link(
    repository: Repository, commit: str, revision: str | None, files: Sequence[RemoteFile]
) -> Path:
    """Make the snapshot ``commit`` of ``files``, then let ``revision`` mean it.

    The config comes last: where it is, all is (``sandbox.models.cache.is_complete``).
    """
    folder = repository.snapshot(commit)
    for file in sorted(files, key=lambda file: file.path in CONFIGS):
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(repository.blobs / file.etag, place.parent)
        if not place.is_symlink() or os.readlink(place) != target:
            new = place.with_name(f"{place.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(place)
    _sync(repository.blobs)
    _sync(folder)
    ref = repository.ref(revision)
    if revision != commit and not (ref.exists() and ref.read_text(encoding="utf-8") == commit):
        ref.parent.mkdir(parents=True, exist_ok=True)
        new = ref.with_name(f"{ref.name}.new")
        new.write_text(commit, encoding="utf-8")
        new.replace(ref)
    return folder


def _sync(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
