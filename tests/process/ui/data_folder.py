"""Data folders of the chat page: made as a start makes them, copied, looked into."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.paths import Paths
from sandbox.settings import Settings
from sandbox.ui import accounts, credentials, environment
from tests.standins.chat_page import ApiStandIn, ChatPage

MODEL = "some/model"
PATHS = Paths.here()


class Closed(NamedTuple):
    """The chat page after a change from open to protected."""

    page: ChatPage
    backend: ApiStandIn
    # Who all visitors were, and the session of one.
    visitor_id: str
    open_session: str


def prepare(data: Path, access: str) -> Settings:
    """What a start in the mode ``access`` does before Open WebUI runs."""
    given: dict[str, Any] = {"MODEL_ID": MODEL, "ACCESS": access, "UI_DATA_DIR": data}
    settings = Settings(**given)
    accounts.ensure_accounts(settings, PATHS, environment.compose(settings))
    return settings


def copy(data: Path, to: Path) -> Path:
    """The data folder of a running chat page."""
    to.mkdir(mode=0o700)
    query(data, "VACUUM INTO ?", str(to / "webui.db"))
    for name in credentials.FILES:
        shutil.copy2(data / name, to / name)
    return to


def query(data: Path, sql: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(data / "webui.db")) as connection, connection:
        return connection.execute(sql, values).fetchall()
