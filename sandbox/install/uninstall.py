"""`ai-sandbox uninstall`: takes back what the installer did; models, chats and settings stay."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sandbox.errors import ConfigError, ExitCode, SandboxError
from sandbox.install import apt, driver, first_boot, motd, units, users
from sandbox.install.commands import CommandFailed, Commands
from sandbox.install.lock import only_installer
from sandbox.install.record import Record
from sandbox.paths import Box, Paths
from sandbox.settings import Settings, keys_file, load


def uninstall(purge: bool) -> int:
    """Undo the installation; with ``purge`` the data and the settings go too. The exit code.

    What one command refuses does not keep the rest: raises ``SandboxError`` with it at the end.
    """
    box = Box()
    paths = Paths.installed(box.root)
    data = _data_folders(paths)
    with only_installer(box), tempfile.TemporaryDirectory() as scratch:
        undo = Undo(Commands(Path(scratch) / "uninstall.log"))
        record = Record(box)
        for port in first_boot.ports(box):
            first_boot.end_page(port)
        print("Stopping and removing the services")
        units.remove_units(box)
        for folder in data:
            own = partial(users.give_to_root, folder, undo.commands)
            undo.attempt(f"chown -R root:root {folder}", own)
        for file in (paths.env_file, keys_file(paths.env_file)):
            keep_from_others(file)
        for name in (users.API_USER, users.UI_USER):
            undo.attempt(f"userdel {name}", partial(users.remove_user, name, undo.commands))
        undo.attempt(f"groupdel {users.GROUP}", partial(users.remove_group, undo.commands))
        motd.remove_motd(box, record)
        driver.remove_hold(box.root)
        packages = record.get("packages", [])
        undo.attempt(
            f"apt-get purge {' '.join(packages)}", lambda: _purge_packages(packages, undo.commands)
        )
        if box.command.is_symlink():
            box.command.unlink()
        shutil.rmtree(box.logs, ignore_errors=True)
        shutil.rmtree(box.progress.parent, ignore_errors=True)
        if purge:
            for folder in data:
                remove_data(folder)
            shutil.rmtree(paths.backups_dir, ignore_errors=True)
            paths.env_file.unlink(missing_ok=True)
            keys_file(paths.env_file).unlink(missing_ok=True)
        shutil.rmtree(box.home, ignore_errors=True)
    kept = ", ".join(
        str(place) for place in (*data, paths.backups_dir, paths.env_file) if place.exists()
    )
    if kept:
        print(f"Kept: {kept} ({'not all could be removed' if purge else 'they go with --purge'}).")
    undo.check()
    print("Removed.")
    return ExitCode.OK


@dataclass
class Undo:
    """Goes on where a command refuses, and tells at the end."""

    commands: Commands
    refused: dict[str, str] = field(default_factory=dict)

    def attempt(self, command: str, work: Callable[[], object]) -> None:
        """Do ``work``, which ``command`` would do by hand."""
        try:
            work()
        except CommandFailed as error:
            self.refused[command] = error.reason
        except SandboxError as error:
            self.refused[command] = error.message

    def check(self) -> None:
        """Raise ``SandboxError`` when something was refused."""
        if self.refused:
            lines = [f"{command}: {reason}" for command, reason in self.refused.items()]
            raise SandboxError(
                "AI Sandbox was removed, but for what these commands refused:\n" + "\n".join(lines),
                f"Correct the reason, then run as root: {'; '.join(self.refused)}",
            )


def remove_data(folder: Path) -> None:
    """Remove ``folder`` with all in it; where it is a link, what it leads to, and the link.

    The root of a file system stays, empty.
    """
    target = folder.resolve()
    for path in target.iterdir() if target.is_dir() else ():
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif path.name != "lost+found":
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        target.rmdir()
    if folder.is_symlink():
        folder.unlink()


def keep_from_others(file: Path) -> None:
    """The group's number may be another group's some day, and there are secrets in the file."""
    if file.exists():
        os.chown(file, 0, 0)
        file.chmod(0o600)


def _purge_packages(packages: list[str], commands: Commands) -> None:
    stay = apt.purge_packages(packages, commands)
    if stay:
        print(f"Other packages need these, so they stay: {' '.join(stay)}")


def _data_folders(paths: Paths) -> list[Path]:
    try:
        settings: Settings = load(paths).settings
    except ConfigError:
        return [paths.models_dir, paths.ui_data_dir]
    return [settings.models_dir, settings.ui_data_dir]
