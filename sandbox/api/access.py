"""Who may call: the keys of API_KEY, the named ones and the chat page's, compared in constant time.

A change of the two files is noticed by itself at the next request.
"""

from __future__ import annotations

import hmac
import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.types import Scope

from sandbox import keys
from sandbox.errors import SandboxError

log = logging.getLogger(__name__)

# Whose key a request carries, when it is the chat page's: many people behind one key.
CHAT_PAGE = "the chat page"
# The length of a hash as it is written.
_DIGEST_LENGTH = 64


class KeyCheck:
    """Accepts every request while no key is needed, else those that carry one.

    ``named`` is the file of the named keys, ``page`` the one with the hash of the chat page's key.
    Raises ``ConfigError`` when ``named`` cannot be read; should that happen later, what was read
    before stays in force.
    """

    def __init__(
        self,
        given: Sequence[str],
        *,
        protected: bool = False,
        named: Path | None = None,
        page: Path | None = None,
    ) -> None:
        self.replace(given, protected=protected)
        self._named = _Watched(named, _read_named) if named else None
        self._page = _Watched(page, _read_page) if page else None
        if self._named:
            self._named.look()

    def replace(self, given: Sequence[str], *, protected: bool) -> None:
        """Take ``given`` for the keys of API_KEY from now on."""
        self.needed = protected or bool(given)
        # Hashes have one length, so that a comparison tells nothing about a key's.
        self._given = [(f"API_KEY {i}", keys.digest(key)) for i, key in enumerate(given, 1)]

    @property
    def count(self) -> int:
        """How many keys are accepted now."""
        return len(self._accepted())

    def allows(self, scope: Scope) -> bool:
        """True when the request may pass. Reads ``Authorization: Bearer`` and ``x-api-key``."""
        return not self.needed or self.holder(scope) is not None

    def holder(self, scope: Scope) -> str | None:
        """The name of the key that the request carries; None when it is none of ours."""
        given = keys.digest(_key_of(scope))
        holder = None
        # No short cut at the first match: the time must not tell which key it was.
        for name, digest in self._accepted():
            if hmac.compare_digest(given, digest):
                holder = name
        return holder

    def _accepted(self) -> list[tuple[str, str]]:
        return [
            *self._given,
            *(self._named.now() if self._named else ()),
            *(self._page.now() if self._page else ()),
        ]


class _Watched:
    """The keys in a file, read again whenever it is another one."""

    def __init__(self, file: Path, read: Callable[[Path], list[tuple[str, str]]]) -> None:
        self._file = file
        self._read = read
        self._stamp: tuple[int, ...] = ()
        self._found: list[tuple[str, str]] = []

    def look(self) -> None:
        """Read the file. Raises ``SandboxError``."""
        try:
            found = os.stat(self._file)
            stamp: tuple[int, ...] = (
                found.st_ino,
                found.st_mtime_ns,
                found.st_ctime_ns,
                found.st_size,
            )
        except FileNotFoundError:
            stamp = ()
        if stamp != self._stamp:
            self._stamp = stamp
            self._found = self._read(self._file) if stamp and stamp[-1] else []

    def now(self) -> list[tuple[str, str]]:
        try:
            self.look()
        except SandboxError as error:
            # Once for each change of the file.
            log.error("%s The keys that were read before stay in force.", error.message)
        except OSError as error:
            log.error("%s cannot be read: %s", self._file, error.strerror)
        return self._found


def _read_named(file: Path) -> list[tuple[str, str]]:
    return [(name, key.digest) for name, key in keys.read(file).items()]


def _read_page(file: Path) -> list[tuple[str, str]]:
    """Another user wrote it: no link is followed, nothing waited for."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return []
        text = stream.read(_DIGEST_LENGTH + 1).decode(errors="replace").strip()
    return [(CHAT_PAGE, text)] if keys.is_digest(text) else []


def _key_of(scope: Scope) -> bytes:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer":
        return value.strip()
    return headers.get(b"x-api-key", b"").strip()
