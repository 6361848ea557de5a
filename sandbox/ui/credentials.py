"""Secrets of the chat page: made once, kept in its data folder with mode 0600, never printed."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from sandbox.errors import SandboxError

# The name that Open WebUI itself uses, so that a folder from elsewhere keeps its sessions.
SECRET_KEY_FILE = ".webui_secret_key"
ADMIN_PASSWORD_FILE = "admin-password"
ADMIN_EMAIL = "admin@ai-sandbox.local"


def secret_key(data_dir: Path) -> str:
    """What Open WebUI signs its sessions with."""
    return _ensure_secret(data_dir / SECRET_KEY_FILE, 48)


def admin_password(data_dir: Path) -> str:
    """The first password of the administrator; he may have changed it in the chat page since."""
    return _ensure_secret(data_dir / ADMIN_PASSWORD_FILE, 18)


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
