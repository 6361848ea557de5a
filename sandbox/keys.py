"""Named API keys: kept as hashes in a file beside the env file, each shown once, when made."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sandbox.errors import ConfigError, SandboxError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class NamedKey(NamedTuple):
    """What is kept of a key: its hash as 64 hexadecimal digits, and the day it was made."""

    digest: str
    made: str


def digest(key: str | bytes) -> str:
    """The hash of ``key``. A plain one will do: no key of ours can be guessed."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def is_digest(text: object) -> bool:
    """True for what ``digest`` returns."""
    return isinstance(text, str) and bool(_DIGEST.fullmatch(text))


def read(file: Path) -> dict[str, NamedKey]:
    """The keys in ``file`` by name; none when it does not exist. Raises ``ConfigError``."""
    try:
        text = file.read_text(encoding="utf-8")
        # Empty is what another process sees while the very first key is being made.
        kept = json.loads(text) if text else {}
        found = {name: NamedKey(**key) for name, key in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not as it was written"
        raise ConfigError(
            f"The file of the API's keys, {file}, cannot be read: {reason}.",
            "Let the service's user read it, or remove it and make new keys with "
            "`ai-sandbox keys add NAME`.",
        ) from None
    if not all(is_digest(key.digest) for key in found.values()):
        raise ConfigError(
            f"The file of the API's keys, {file}, holds something else than hashes of keys.",
            "Remove it and make new keys with `ai-sandbox keys add NAME`.",
        )
    return found


def add(file: Path, name: str, env_file: Path) -> str:
    """Make a key called ``name`` and keep its hash; the key itself is only returned.

    Who may read ``env_file`` may read the hashes. Raises ``SandboxError``.
    """
    if not _NAME.fullmatch(name):
        raise SandboxError(
            f"A key cannot be called {name!r}.",
            "A name has 1 to 64 letters, digits, dots, dashes and underscores, for example: alice",
        )
    key = f"sk-{secrets.token_hex(24)}"
    with _changing(file, env_file) as kept:
        if name in kept:
            raise SandboxError(
                f"There is a key called {name} already, made on {kept[name].made}.",
                f"Take another name, or remove it first: ai-sandbox keys remove {name}",
            )
        kept[name] = NamedKey(digest(key), time.strftime("%Y-%m-%d", time.gmtime()))
    return key


def remove(file: Path, name: str, env_file: Path) -> None:
    """Forget the key called ``name``. Raises ``SandboxError`` when there is none."""
    if not file.exists():
        raise SandboxError("There are no named keys.", "`ai-sandbox keys add NAME` makes one.")
    with _changing(file, env_file) as kept:
        if name not in kept:
            close = difflib.get_close_matches(name, kept, n=1)
            hint = f"Did you mean {close[0]}?" if close else "`ai-sandbox keys list` lists them."
            raise SandboxError(f"There is no key called {name}.", hint)
        del kept[name]


@contextlib.contextmanager
def _changing(file: Path, env_file: Path) -> Iterator[dict[str, NamedKey]]:
    """The keys for one process at a time; kept as they are when the block ends well."""
    try:
        lock = _lock(file)
        try:
            kept = read(file)
            yield kept
            _write(file, kept, env_file)
        finally:
            os.close(lock)
    except OSError as error:
        raise SandboxError(
            f"The file of the API's keys, {file}, could not be written: {error.strerror}.",
            "On a box keys are made as root (sudo), on a disk with space left.",
        ) from None


def _lock(file: Path) -> int:
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Who had it before may have put another file in its place.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(file)):
                return handle
        os.close(handle)


def _write(file: Path, kept: dict[str, NamedKey], env_file: Path) -> None:
    """Readers see the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({name: key._asdict() for name, key in kept.items()}, stream, indent=2)
            stream.write("\n")
            with contextlib.suppress(FileNotFoundError):
                like = env_file.stat()
                os.fchown(handle, like.st_uid, like.st_gid)
                os.fchmod(handle, stat.S_IMODE(like.st_mode) & 0o640)
            stream.flush()
            os.fsync(handle)
        os.replace(name, file)
    finally:
        Path(name).unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
