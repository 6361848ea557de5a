"""Who can do what on the chat page: an administrator before the port opens, visitors never one.

Without a login Open WebUI signs every visitor in as ``admin@localhost`` with the password
``admin``, and makes that account an administrator when it creates it: any visitor could then run
code on the server. So the account is there first, as a plain user; with a login it is disarmed.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.host.processes import die_with_parent
from sandbox.paths import Paths
from sandbox.settings import Settings
from sandbox.ui import provision

# Printed when something was to do: the installer, which may not look itself, reads it.
MADE = "The accounts of the chat page were set up."


def ensure_accounts(settings: Settings, paths: Paths, environment: Mapping[str, str]) -> None:
    """Make the accounts as ``settings.access`` wants them; seconds when something is to do.

    Open WebUI is not running. Also brings its database to its newest schema when it does work.
    Raises ``SandboxError`` rather than leave visitors with an administrator's rights.
    """
    database = settings.ui_data_dir / "webui.db"
    if are_right(database, settings.access):
        return
    # A first database is made aside: one that a power cut left half made would never start.
    fresh = None if database.exists() else database.with_name("webui.db.new")
    if fresh:
        for file in database.parent.glob(f"{fresh.name}*"):
            file.unlink()
    run = subprocess.run(
        [str(paths.ui_env / "bin/python"), "-I", provision.__file__, settings.access],
        env={**environment, "DATABASE_URL": f"sqlite:///{fresh or database}"},
        cwd=settings.ui_data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        # A killed start must leave nobody at work on the database of the next one. There are no
        # threads here that this could deadlock with.
        preexec_fn=die_with_parent,
    )
    if run.returncode or not are_right(fresh or database, settings.access):
        last = "\n".join(run.stdout.strip().splitlines()[-8:])
        raise SandboxError(
            f"The accounts of the chat page in {database} could not be set up "
            f"(exit status {run.returncode}):\n{last}",
            "The chat page was not started. Set UI_DATA_DIR to an empty folder to start afresh.",
        )
    if fresh:
        with closing(sqlite3.connect(fresh)) as connection:
            # All of it in the one file that is renamed.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        fresh.rename(database)
    print(MADE, file=sys.stderr, flush=True)


def are_right(database: Path, access: str) -> bool:
    """True when an administrator exists and ``admin@localhost`` is what ``access`` asks for."""
    if not database.exists():
        return False
    try:
        # Not read-only: after a power cut SQLite first has to put its log into the database.
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            administrators = connection.execute(
                "SELECT count(*) FROM user JOIN auth USING (id)"
                " WHERE role = 'admin' AND active AND lower(user.email) != ?",
                (provision.VISITOR,),
            ).fetchone()[0]
            visitors = connection.execute(
                "SELECT role, password, active FROM user JOIN auth USING (id)"
                " WHERE lower(user.email) = ?",
                (provision.VISITOR,),
            ).fetchall()
    except sqlite3.DatabaseError:
        # No such table: older than what we know, or not yet made.
        return False
    if access == "open":
        wanted = [("user", provision.OPEN_PASSWORD_HASH, 1)]
        return bool(administrators) and visitors == wanted
    harmless = all(
        role == "pending" and password != provision.OPEN_PASSWORD_HASH
        for role, password, _ in visitors
    )
    return bool(administrators) and harmless
