"""Whether MODELS_DIR and UI_DATA_DIR can be given to the services; nothing is changed."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

from sandbox.install import users
from sandbox.install.machine import Problem
from sandbox.paths import Box
from sandbox.settings import Settings

# What only a folder of ours has: after an uninstall, or moved here from another machine.
MODELS_MARKS = ("models--*--*", "cache/vllm", "cache/inductor")
CHATS_MARKS = ("webui.db", ".webui_secret_key")
# Units cannot name it, or mean something else by it.
UNFIT = re.compile(r"[\s'\"\\%$\x00-\x1f\x7f]")
# The services see none of these, or others of their own (ProtectHome=, PrivateTmp=); and what the
# uninstallation removes.
FORBIDDEN = ("home", "root", "run", "tmp", "var/tmp", "proc", "sys", "dev", "opt/ai-sandbox")
# What a new file system has.
IGNORED = {"lost+found"}


def check(settings: Settings, box: Box) -> list[Problem]:
    """The problems of the two folders; each says what to set instead."""
    wanted = (
        ("MODELS_DIR", settings.models_dir, users.API_USER, MODELS_MARKS),
        ("UI_DATA_DIR", settings.ui_data_dir, users.UI_USER, CHATS_MARKS),
    )
    found = []
    for name, folder, user, marks in wanted:
        problem = _check_place(name, folder, box.root) or _check_content(name, folder, user, marks)
        if problem:
            found.append(problem)
    models, chats = settings.models_dir.resolve(), settings.ui_data_dir.resolve()
    if not found and (models.is_relative_to(chats) or chats.is_relative_to(models)):
        found.append(
            Problem(
                f"MODELS_DIR ({models}) and UI_DATA_DIR ({chats}) lie one in the other; they "
                "belong to different users.",
                "Set them to two folders beside each other.",
            )
        )
    return found


def _check_place(name: str, folder: Path, root: Path) -> Problem | None:
    another = f"Set {name} to another folder, such as /srv/{folder.name or 'models'}."
    if UNFIT.search(str(folder)):
        return Problem(
            f"{name} is {str(folder)!r}; its path must be without blanks, quotes, backslashes, "
            "%, $ and control characters, which systemd's units would not take as they are.",
            f"Rename the folder, and set {name} to the new name.",
        )
    # As it is written, and where it leads.
    for place in (folder, folder.resolve()):
        if place in (root, Path("/")):
            return Problem(
                f"{name} is {folder}, which is the whole system: it would be given to a service.",
                another,
            )
        for forbidden in (root / part for part in FORBIDDEN):
            if place.is_relative_to(forbidden):
                return Problem(
                    f"{name} is {folder}, which is below {forbidden}: the services do not see "
                    "that, or it does not last.",
                    another,
                )
    if folder.exists() and not folder.is_dir():
        return Problem(f"{name} is {folder}, which is no folder.", another)
    return None


def _check_content(name: str, folder: Path, user: str, marks: tuple[str, ...]) -> Problem | None:
    if not folder.is_dir() or folder.stat().st_uid == _number(user):
        return None
    other = sorted(set(os.listdir(folder)) - IGNORED)
    if not other or any(any(folder.glob(mark)) for mark in marks):
        return None
    return Problem(
        f"{name} is {folder}, which has something else in it ({other[0]!r}), and all of it would "
        f"be given to the user {user}.",
        f"Set {name} to an empty folder, for example {folder / 'ai-sandbox'}.",
    )


def _number(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
