"""The folder of the sockets by which vLLM's processes talk; its own, for vLLM removes none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "VLLM_RPC_BASE_PATH"
_PREFIX = "ai-sandbox-sockets-"
# A socket's name has at most 107 bytes, and vLLM's are a slash and 36 letters below this one.
_MAX_PATH_BYTES = 70
# One that was made just now may not be locked yet.
_NEW_SECONDS = 60


@contextlib.contextmanager
def folder() -> Iterator[None]:
    """Have vLLM put its sockets into a folder that is gone at the end.

    Where a person has named one, or none can be made, vLLM's own stays.
    """
    place = None if VARIABLE in os.environ else _make()
    if place is None:
        yield
        return
    os.environ[VARIABLE] = place
    _remove_abandoned(Path(place).parent)
    # Held until this process ends, however it does.
    lock = os.open(place, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def empty() -> None:
    """Remove the sockets of an engine that has ended; there is at most one engine."""
    place = Path(os.environ.get(VARIABLE, ""))
    if place.name.startswith(_PREFIX):
        # Who tidies the temporary folder may have removed it.
        place.mkdir(mode=0o700, exist_ok=True)
        for file in place.iterdir():
            file.unlink(missing_ok=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of launchers that were killed: nobody holds their locks."""
    for place in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if place.stat().st_mtime > time.time() - _NEW_SECONDS:
                continue
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Sockets and nothing else: what has another thing in it is not ours.
                for file in filter(Path.is_socket, place.iterdir()):
                    file.unlink()
                place.rmdir()
            finally:
                os.close(lock)


def _make() -> str | None:
    for parent in (None, "/tmp"):
        with contextlib.suppress(OSError):
            place = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
            if len(os.fsencode(place)) <= _MAX_PATH_BYTES:
                return place
            os.rmdir(place)
    return None
