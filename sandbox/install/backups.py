"""`ai-sandbox backup` and `ai-sandbox restore`, on a box and in a clone."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import ExitCode, SandboxError
from sandbox.host import systemctl
from sandbox.host.ports import check_port_free
from sandbox.install import units, users
from sandbox.install.lock import only_installer
from sandbox.paths import Box, Paths
from sandbox.settings import Loaded, Settings, keys_file, load
from sandbox.ui import backups

_ENV = "ai-sandbox.env"


def back_up(env_file: Path | None, folder: Path | None) -> int:
    """Make a backup while everything runs, in ``folder`` or with the others; the exit code.

    Of the others old ones are removed. Raises ``SandboxError``.
    """
    paths = Paths.here()
    _check_user(paths, "backup")
    loaded = load(paths, env_file=env_file)
    target = folder.resolve() if folder else paths.backups_dir
    keeper = _keeper(paths, loaded.settings)
    made, checked = backups.make(target, keeper, _settings_files(paths, env_file))
    if not folder:
        backups.record(target, checked)
        backups.thin_out(target)
    size = made.stat().st_size / 1e6
    counts = ", ".join(f"{number} {what}" for what, number in checked.counts.items())
    print(f"{made} ({size:.1f} MB: {counts}); it was read back and opened.")
    return ExitCode.OK


def restore(env_file: Path | None, backup: Path, keep_settings: bool) -> int:
    """Put ``backup`` in the place of what is here, which is kept aside; the exit code.

    Nothing is touched before all of it was looked at. Raises ``SandboxError``.
    """
    paths = Paths.here()
    _check_user(paths, "restore")
    loaded = load(paths, env_file=env_file)
    keeper = _keeper(paths, loaded.settings)
    checked = backups.check(backup, keeper)
    settings = {} if keep_settings else checked.settings
    if _ENV in settings:
        _check_settings(settings[_ENV], paths, loaded)
    with _stopped(paths, loaded.settings):
        aside = backups.put_back(backup, keeper)
        print(f"The chats are those of {_moment(checked.made)}; what was there is in {aside}.")
        changed = False
        for name, file in _settings_files(paths, env_file).items():
            if name in settings and _read(file) != settings[name]:
                kept = _replace(file, settings[name])
                print(f"So is {file}{f'; what was there is in {kept}' if kept else ''}.")
                changed = True
        if changed and not paths.is_clone and systemctl.is_active(units.API):
            systemctl.restart(units.API)
    return ExitCode.OK


def _settings_files(paths: Paths, env_file: Path | None) -> dict[str, Path]:
    settings = env_file or paths.env_file
    return {_ENV: settings, "ai-sandbox.keys": keys_file(settings)}


def _keeper(paths: Paths, settings: Settings) -> backups.Keeper:
    if paths.is_clone:
        return backups.Keeper(settings.ui_data_dir)
    as_user = users.as_user(users.UI_USER)
    return backups.Keeper(settings.ui_data_dir, as_user, users.plain_environment())


def _check_user(paths: Paths, verb: str) -> None:
    if not paths.is_clone and os.geteuid() != 0:
        raise SandboxError(
            f"`ai-sandbox {verb}` reads the chats and their secrets, which only root may.",
            f"Run: sudo ai-sandbox {verb}",
        )


def _check_settings(text: bytes, paths: Paths, present: Loaded) -> None:
    """Refuse settings that are wrong here, before they are in force."""
    with tempfile.NamedTemporaryFile(prefix="ai-sandbox.env.") as copy:
        copy.write(text)
        copy.flush()
        restored = load(paths, env_file=Path(copy.name)).settings
    here, there = present.settings.ui_data_dir, restored.ui_data_dir
    if here != there:
        raise SandboxError(
            f"The backup's settings have UI_DATA_DIR={there}; here it is {here}.",
            f"Set UI_DATA_DIR={there} here first, or restore the chats alone: --keep-settings",
        )


@contextlib.contextmanager
def _stopped(paths: Paths, settings: Settings) -> Iterator[None]:
    """The chat page does not run inside; afterwards it does if it did before."""
    if paths.is_clone:
        check_port_free(settings.ui_host, settings.ui_port, "UI_PORT")
        yield
        return
    with only_installer(Box()):
        running = systemctl.is_active(units.UI)
        systemctl.stop(units.UI)
        try:
            yield
        finally:
            if running:
                systemctl.start(units.UI)


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _replace(file: Path, text: bytes) -> Path | None:
    """Write ``text`` with the owner and the mode of what is there; where that is now."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        if file.exists():
            now = file.stat()
            os.fchown(handle, now.st_uid, now.st_gid)
            os.fchmod(handle, now.st_mode & 0o777)
        stream.write(text)
        stream.flush()
        os.fsync(handle)
    aside = None
    if file.exists():
        aside = file.with_name(f"{file.name}.before-restore-{time.strftime('%Y%m%d-%H%M%S')}")
        aside.unlink(missing_ok=True)
        os.link(file, aside)
    new.replace(file)
    return aside


def _moment(made: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made))
