"""The services' users and the folders that are theirs."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

from sandbox.install.commands import Commands
from sandbox.settings import Settings

# Reads the settings; both users have it as their only group.
GROUP = "ai-sandbox"
API_USER = "ai-sandbox-api"
UI_USER = "ai-sandbox-ui"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

Say = Callable[[str], None]


def ensure_users(commands: Commands) -> bool:
    """Make the group and the two users; True when one was made."""
    changed = False
    if not _has_group(GROUP):
        commands.run(["groupadd", "--system", GROUP])
        changed = True
    for name in (API_USER, UI_USER):
        if not _has_user(name):
            shell = shutil.which("nologin") or "/usr/sbin/nologin"
            add = ["useradd", "--system", "--gid", GROUP, "--no-create-home"]
            commands.run([*add, "--home-dir", "/nonexistent", "--shell", shell, name])
            changed = True
    return changed


def remove_user(name: str, commands: Commands) -> None:
    """Remove the user ``name``; raises ``CommandFailed``, for example while it runs a program."""
    if _has_user(name):
        commands.run(["userdel", name])


def remove_group(commands: Commands) -> None:
    """Remove the group; raises ``CommandFailed`` while a user has it."""
    if _has_group(GROUP):
        commands.run(["groupdel", GROUP])


def ensure_folders(settings: Settings, commands: Commands, say: Say) -> bool:
    """Make the data folders and give them, with all in them, to their users; True if changed."""
    models = _ensure_folder(settings.models_dir, API_USER, 0o755, commands, say)
    chats = _ensure_folder(settings.ui_data_dir, UI_USER, 0o700, commands, say)
    return models or chats


def ensure_env_file_is_readable(file: Path) -> None:
    """Let root write and the services read ``file``, and nobody else do either."""
    wanted = (0, grp.getgrnam(GROUP).gr_gid)
    now = file.stat()
    if (now.st_uid, now.st_gid) != wanted:
        os.chown(file, *wanted)
    if now.st_mode & 0o777 != 0o640:
        file.chmod(0o640)


def give_to_root(folder: Path, commands: Commands) -> None:
    """Data that stays after its user is gone must not fall to the next user of that number."""
    if folder.is_dir():
        _give(folder, "root:root", commands)


def as_user(name: str) -> list[str]:
    """What a command begins with to run as the user ``name`` without any right of root's."""
    return [
        "setpriv", f"--reuid={name}", f"--regid={GROUP}", "--clear-groups",
        "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--",
    ]  # fmt: skip


def plain_environment() -> dict[str, str]:
    """What a program of ours is started with: nothing that a person or a StackScript has set."""
    kept = {"PATH", "LANG", "TMPDIR", "SSL_CERT_FILE", *PROXIES, *map(str.upper, PROXIES)}
    return {name: value for name, value in os.environ.items() if name in kept} | {
        "HOME": "/nonexistent"
    }


def _ensure_folder(folder: Path, user: str, mode: int, commands: Commands, say: Say) -> bool:
    owner = pwd.getpwnam(user).pw_uid
    # It may be a link, to a Volume for example.
    folder = folder.resolve()
    if not folder.is_dir():
        folder.mkdir(mode=mode, parents=True)
    elif folder.stat().st_uid == owner:
        return False
    say(f"giving {folder} to {user}")
    folder.chmod(mode)
    _give(folder, f"{user}:{GROUP}", commands)
    return True


def _give(folder: Path, owner: str, commands: Commands) -> None:
    """Make ``folder`` (it may be a link) and all in it ``owner``'s; no link in it is followed."""
    whole = ["chown", "--recursive", "--no-dereference", owner, str(folder.resolve())]
    commands.run(whole)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
