"""Starts Open WebUI: the port first, then folders, accounts, database; then becomes its process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from sandbox.errors import SandboxError
from sandbox.host import ports
from sandbox.host.notify import notify
from sandbox.paths import Paths
from sandbox.settings import Settings
from sandbox.ui import accounts, credentials, database, environment, serve, waiting

BACKLOG = 2048
# As `serve` does it.
IMPORT_ALL = "import os; os.environ['FROM_INIT_PY'] = 'true'; import open_webui.main"


def run(settings: Settings, paths: Paths) -> NoReturn:
    """Replace this process by Open WebUI on ``ui_host``:``ui_port``. Needs no API to be up yet.

    The port answers from the first moment. Raises ``SandboxError`` when it cannot start.
    """
    program = _check_environment(paths)
    with ports.bind(settings.ui_host, settings.ui_port, "UI_PORT") as listener:
        _ensure_folders(settings.ui_data_dir)
        listener.listen(BACKLOG)
        page = waiting.start(listener)
        notify(READY="1")
        try:
            print(
                f"Open WebUI starts on port {settings.ui_port}; "
                f"its data is in {settings.ui_data_dir}.",
                file=sys.stderr,
                flush=True,
            )
            # Before the accounts, which take their time: who has the key may use it from now on.
            data = settings.ui_data_dir
            credentials.publish_api_key(data, paths.page_digest(data))
            composed = prepare(settings, paths)
            os.chdir(settings.ui_data_dir)
            _become(program, composed, listener, page)
        finally:
            page.end()


def prepare(settings: Settings, paths: Paths) -> dict[str, str]:
    """Make what Open WebUI finds at its start, and return the environment that it starts with.

    Open WebUI is not running. Raises ``SandboxError``.
    """
    _check_environment(paths)
    _ensure_folders(settings.ui_data_dir)
    composed = environment.compose(settings)
    accounts.ensure_accounts(settings, paths, composed)
    key = credentials.api_key(settings.ui_data_dir)
    database.sync(settings.ui_data_dir / "webui.db", settings, key)
    return composed


def check(settings: Settings, paths: Paths) -> None:
    """Import all of Open WebUI, on data that is thrown away; raises ``SandboxError``.

    It proves the environment, and compiles what every start imports where this user may write.
    """
    program = _check_environment(paths)
    with tempfile.TemporaryDirectory() as folder:
        scratch = settings.model_copy(update={"ui_data_dir": Path(folder)})
        _ensure_folders(scratch.ui_data_dir)
        composed = environment.compose(scratch)
        # The bytecode is for the user who runs the service.
        os.umask(0o022)
        done = subprocess.run(
            [str(program), "-I", "-c", IMPORT_ALL],
            env=composed,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise SandboxError(
            f"Open WebUI cannot be imported (exit status {done.returncode}):\n{last}",
            "Its environment is broken; remove it and install again.",
        )


def _become(
    program: Path, environment: dict[str, str], listener: socket.socket, page: waiting.Waiting
) -> NoReturn:
    arguments = [listener.fileno(), page.hold, page.process.pid]
    for inherited in (listener.fileno(), page.hold):
        os.set_inheritable(inherited, True)
    command = [str(program), "-I", serve.__file__, *map(str, arguments)]
    os.execve(program, command, environment)


def _check_environment(paths: Paths) -> Path:
    program = paths.ui_env / "bin/open-webui"
    if not os.access(program, os.X_OK):
        way_out = "make run" if paths.is_clone else "ai-sandbox install"
        raise SandboxError(
            f"Open WebUI is not installed: {program} is not there.",
            f"`{way_out}` makes its environment.",
        )
    return program.with_name("python")


def _ensure_folders(data: Path) -> None:
    # Nobody else on this machine reads the chats.
    os.umask(0o077)
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
