"""Starts Open WebUI: checks, folders, accounts, database, then becomes its process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from sandbox.errors import SandboxError
from sandbox.host.ports import check_port_free
from sandbox.paths import Paths
from sandbox.settings import Settings
from sandbox.ui import accounts, database, environment


def run(settings: Settings, paths: Paths) -> NoReturn:
    """Replace this process by Open WebUI on ``ui_host``:``ui_port``. Needs no API to be up yet.

    Raises ``SandboxError`` when it cannot start.
    """
    program = _check_environment(paths)
    check_port_free(settings.ui_host, settings.ui_port, "UI_PORT")
    # Nobody else on this machine reads the chats.
    os.umask(0o077)
    data = settings.ui_data_dir.absolute()
    settings = settings.model_copy(update={"ui_data_dir": data})
    _ensure_folders(data)
    composed = environment.compose(settings)
    accounts.ensure_accounts(settings, paths, composed)
    database.sync(data / "webui.db", settings)
    arguments = ["serve", "--host", settings.ui_host, "--port", str(settings.ui_port)]
    print(f"Open WebUI starts on port {settings.ui_port}; its data is in {data}.", file=sys.stderr)
    sys.stderr.flush()
    os.chdir(data)
    os.execve(program, [str(program), *arguments], composed)


def _check_environment(paths: Paths) -> Path:
    program = paths.ui_env / "bin/open-webui"
    if not os.access(program, os.X_OK):
        way_out = "make run" if paths.is_clone else "ai-sandbox install"
        raise SandboxError(
            f"Open WebUI is not installed: {program} is not there.",
            f"`{way_out}` makes its environment.",
        )
    return program


def _ensure_folders(data: Path) -> None:
    try:
        for folder in (data, data / "home", data / "cache", data / "static", data / "uploads"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(0, "this user may not write there", str(folder))
    except OSError as error:
        raise SandboxError(
            f"The folder {error.filename} (UI_DATA_DIR is {data}) cannot be used: "
            f"{error.strerror}.",
            "Give it to the user that runs the chat page, or set UI_DATA_DIR to another folder.",
        ) from None
