"""One file from the hub to disk: resumed at the byte where it stopped, and verified.

A file that arrives is appended to ``ETAG.incomplete``, whose size is all that a later attempt,
also of another process, needs to know. After ``kill -9`` nothing of it is lost.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.errors import SandboxError
from sandbox.models.cache import PARTIAL
from sandbox.models.download.hub import RemoteFile, retry_after

if TYPE_CHECKING:
    import httpx2

FILES_AT_ONCE = 8
_STALL_SECONDS = 30.0
# How long a stop may go unnoticed.
_LOOK_SECONDS = 0.5
# Failures in a row, without a byte between them, that one file is tried again for.
_MAX_FAILURES = 4
_MAX_WAIT_SECONDS = 300.0
_BLOCK_BYTES = 1 << 20
# What a power cut can cost each file.
_SYNC_BYTES = 64 << 20
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


class StoppedError(Exception):
    """Another file failed, or nobody wants the model any more: it need not arrive."""


class _DamagedError(Exception):
    """The content is not what its etag says."""


def client(headers: dict[str, str]) -> httpx2.Client:
    """An HTTP client for transfers. The token in ``headers`` never follows to another host."""
    import httpx2

    # A compressed answer could not be resumed: ranges count compressed bytes.
    return httpx2.Client(
        headers={**headers, "Accept-Encoding": "identity"},
        follow_redirects=True,
        timeout=_STALL_SECONDS,
        limits=httpx2.Limits(max_connections=2 * FILES_AT_ONCE),
    )


def is_as_on_the_hub(file: RemoteFile, blob: Path) -> bool:
    """True when the content of ``blob`` is the one that the etag of ``file`` names."""
    digest = _digest(file)
    with blob.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest() == file.etag


def bring_all(
    files: Iterable[RemoteFile],
    address: Callable[[str], str],
    web: httpx2.Client,
    blobs: Path,
    stop: threading.Event,
) -> None:
    """Make ``blobs`` hold every one of ``files``, several at once.

    ``address`` gives the URL of a path; ``stop`` ends all. Raises the first file's error, when
    all have stopped: what httpx2 and huggingface_hub raise, ``OSError`` and ``SandboxError``.
    """
    # Not ``stop`` itself, which is the caller's: another try must not find it set.
    ended = threading.Event()
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="download") as pool:
        work = {pool.submit(_bring, file, address(file.path), web, blobs, ended) for file in files}
        try:
            while work:
                done, work = wait(work, _LOOK_SECONDS, FIRST_COMPLETED)
                for one in done:
                    one.result()
                if stop.is_set():
                    raise StoppedError
        except BaseException:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _bring(
    file: RemoteFile, url: str, web: httpx2.Client, blobs: Path, stop: threading.Event
) -> None:
    path = blobs / f"{file.etag}{PARTIAL}"
    for attempt in (1, 2):
        try:
            with _Partial(file, path, stop) as partial:
                _fill(partial, url, web, stop)
                partial.check()
                os.fsync(partial.descriptor)
            path.replace(blobs / file.etag)
            return
        except _DamagedError as error:
            path.unlink(missing_ok=True)
            if attempt == 2:
                raise SandboxError(
                    f"{file.path} arrived damaged twice: {error}.",
                    "A proxy, a mirror (HF_ENDPOINT) or the disk changes what is downloaded; "
                    "start again when that is repaired.",
                ) from None


def _fill(partial: _Partial, url: str, web: httpx2.Client, stop: threading.Event) -> None:
    """Append what is missing, over as many requests as that takes."""
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError

    failures = 0
    while partial.missing:
        before = partial.missing
        wait = 0.0
        try:
            _append(partial, url, web, stop)
        except TransportError:
            if failures == _MAX_FAILURES:
                raise
        except HfHubHTTPError as error:
            answer = error.response
            elsewhere = answer.url.host != web.build_request("GET", url).url.host
            # An address at another host is signed for a short while; the next one is new.
            passing = answer.status_code in _PASSING or elsewhere
            wait = retry_after(answer.headers.get("Retry-After", ""))
            if not passing or failures == _MAX_FAILURES or wait > _MAX_WAIT_SECONDS:
                raise
        if partial.missing:
            failures = failures + 1 if partial.missing == before else 0
            if stop.wait(max(wait, 2.0**failures / 2)):
                raise StoppedError


def _append(partial: _Partial, url: str, web: httpx2.Client, stop: threading.Event) -> None:
    """One request for the missing part; what arrives before a failure is kept."""
    from httpx2 import RemoteProtocolError
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
    with web.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:
            # The file ends before the place where we are: ours cannot be its beginning.
            raise _DamagedError("the hub has less of it than is here")
        if answer.is_error:
            answer.read()
            hf_raise_for_status(answer)
        if partial.size and answer.status_code != 206:
            # A server that does not resume begins anew.
            partial.restart()
        # As it arrives and not in larger blocks: what waits for its block is lost at a cut.
        for block in answer.iter_raw():
            if stop.is_set():
                raise StoppedError
            partial.append(block)
    if partial.missing:
        raise RemoteProtocolError(f"the answer ended {partial.missing:,} bytes early")


class _Partial:
    """The part of a file that has arrived, and the checksum of it so far."""

    def __init__(self, file: RemoteFile, path: Path, stop: threading.Event) -> None:
        self._file = file
        self._path = path
        self._stop = stop
        self.size = 0
        self._unsynced = 0

    def __enter__(self) -> _Partial:
        self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._digest = _digest(self._file)
        if os.fstat(self.descriptor).st_size > self._file.size:
            self.restart()
        while block := os.read(self.descriptor, _BLOCK_BYTES):
            if self._stop.is_set():
                raise StoppedError
            self._digest.update(block)
            self.size += len(block)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    @property
    def missing(self) -> int:
        """Bytes."""
        return self._file.size - self.size

    def append(self, block: bytes) -> None:
        """Write ``block`` at the end. Raises ``_DamagedError`` past the file's size."""
        if len(block) > self.missing:
            raise _DamagedError(f"it has more than its {self._file.size:,} bytes")
        view = memoryview(block)
        while view:
            written = os.write(self.descriptor, view)
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]
        self._unsynced += len(block)
        if self._unsynced >= _SYNC_BYTES:
            os.fdatasync(self.descriptor)
            self._unsynced = 0

    def restart(self) -> None:
        """Forget what has arrived."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self._digest = _digest(self._file)
        self.size = 0

    def check(self) -> None:
        """Raise ``_DamagedError`` unless the content is the one that the etag names."""
        etag, found = self._file.etag, self._digest.hexdigest()
        # A mirror may have etags of its own, which say nothing about the content.
        if len(etag) == len(found) and etag != found:
            raise _DamagedError(f"its checksum is {found} and must be {etag}")


def _digest(file: RemoteFile) -> hashlib._Hash:
    """sha256 as for large files, or git's checksum of a blob as for small ones."""
    if len(file.etag) == 40:
        return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    return hashlib.sha256()
