"""Copies of the chat page's database from before a change of releases, and the way back to one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from sandbox.errors import SandboxError
from sandbox.install import users
from sandbox.paths import Box
from sandbox.settings import Settings
from sandbox.ui import keep

KEPT = 3


def back_up(box: Box, settings: Settings, release: Path) -> Path | None:
    """Keep the chats as ``release`` leaves them; None when there are none yet.

    Raises ``SandboxError``; nothing half-made is left then.
    """
    if not (settings.ui_data_dir / keep.DATABASE).exists():
        return None
    box.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = box.backups / f"{moment}_{release.name}.db"
    new = target.with_suffix(".new")
    try:
        with new.open("wb") as stream:
            new.chmod(0o600)
            _run("save", settings, stdin=None, stdout=stream)
        new.replace(target)
    except OSError as error:
        raise SandboxError(
            f"The chats could not be backed up to {box.backups}: {error.strerror}.",
            "Nothing was changed. Make room there, then run it again.",
        ) from None
    finally:
        new.unlink(missing_ok=True)
    for old in sorted(box.backups.glob("*_*.db"), reverse=True)[KEPT:]:
        old.unlink()
    return target


def newest(box: Box, release: Path) -> Path | None:
    """The newest copy that was made when ``release`` was left."""
    return max(box.backups.glob(f"*_{release.name}.db"), default=None)


def restore(backup: Path, settings: Settings) -> str:
    """Put ``backup`` in the database's place; returns where what was there is kept.

    The chat page is not running. Raises ``SandboxError``.
    """
    with backup.open("rb") as stream:
        return _run("restore", settings, stdin=stream, stdout=None).strip()


def _run(what: str, settings: Settings, stdin: IO[bytes] | None, stdout: IO[bytes] | None) -> str:
    program = [sys.executable, "-I", keep.__file__, what, str(settings.ui_data_dir)]
    done = subprocess.run(
        [*users.as_user(users.UI_USER), *program],
        stdin=stdin or subprocess.DEVNULL,
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=users.plain_environment(),
        cwd="/",
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise SandboxError(
            f"The chats in {settings.ui_data_dir} could not be "
            f"{'backed up' if what == 'save' else 'restored'}: {lines[-1] if lines else what}",
            "Is the disk full, or the database in use by another program?",
        )
    return (done.stdout or b"").decode(errors="replace")
