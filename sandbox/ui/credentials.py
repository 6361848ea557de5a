"""Secrets of the chat page: made once, kept in its data folder with mode 0600, never printed."""

from __future__ import annotations

import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path

from sandbox import keys
from sandbox.errors import SandboxError

# The name that Open WebUI itself uses, so that a folder from elsewhere keeps its sessions.
SECRET_KEY_FILE = ".webui_secret_key"
ADMIN_PASSWORD_FILE = "admin-password"
API_KEY_FILE = "api-key"
FILES = (SECRET_KEY_FILE, ADMIN_PASSWORD_FILE, API_KEY_FILE)
ADMIN_EMAIL = "admin@ai-sandbox.local"


def secret_key(data_dir: Path) -> str:
    """What Open WebUI signs its sessions with."""
    return _ensure_secret(data_dir / SECRET_KEY_FILE, 48)


def admin_password(data_dir: Path) -> str:
    """The first password of the administrator; he may have changed it in the chat page since."""
    return _ensure_secret(data_dir / ADMIN_PASSWORD_FILE, 18)


def api_key(data_dir: Path) -> str:
    """The key that the chat page presents to our API, and nobody else."""
    return _ensure_secret(data_dir / API_KEY_FILE, 36)


def publish_api_key(data_dir: Path, place: Path) -> None:
    """Write the hash of that key to ``place``, where our API looks for it.

    Says so when that is not possible: only while a key is needed does it matter.
    """
    new = place.with_suffix(".new")
    try:
        new.write_text(keys.digest(api_key(data_dir)) + "\n", encoding="ascii")
        # Our API is another user; nobody finds the key by its hash.
        new.chmod(0o644)
        new.replace(place)
    except OSError as error:
        print(
            f"ai-sandbox: warning: {place} could not be written ({error.strerror}): while the API "
            "wants a key it will refuse the chat page. Start the chat page as a service.",
            file=sys.stderr,
        )


def peek(data_dir: Path, name: str) -> str | None:
    """The secret in the file ``name`` as another user, such as root, may read it; else None.

    Where its owner can write no link is followed, nothing is made or changed, and a file that is
    not the folder's owner's counts as absent.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(data_dir / name, flags)
        with os.fdopen(handle, encoding="utf-8") as stream:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != data_dir.stat().st_uid:
                return None
            return stream.read(1024).strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _ensure_secret(file: Path, size: int) -> str:
    """The text in ``file``, after making it from ``size`` random bytes where there is none."""
    try:
        kept = _read(file)
        if kept:
            return kept
        _create(file, secrets.token_urlsafe(size))
        return _read(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SandboxError(
            f"The secret in {file} cannot be read or made: {reason}.",
            "Give the file to the user that runs the chat page (see UI_DATA_DIR), or remove it "
            "to have a new one made: everybody is then logged out.",
        ) from None


def _read(file: Path) -> str:
    if not file.exists():
        return ""
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return file.read_text(encoding="utf-8").strip()


def _create(file: Path, secret: str) -> None:
    # mkstemp makes mode 0600; a link appears whole or not at all, and never replaces a file
    # with a secret in it that another start made meanwhile.
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(secret + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        if file.exists() and not file.stat().st_size:
            os.replace(name, file)
        else:
            os.link(name, file)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink(missing_ok=True)
