"""Keeps our choices true in Open WebUI's database, and what people changed there as it is.

Open WebUI 0.12 keeps each choice as one row of the table ``config`` (key, JSON value), which wins
over the environment when there is a login. What we wrote last is one more row of that table, so
that it moves with the database.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.settings import Settings
from sandbox.ui import choices

NOTE_KEY = "ai_sandbox.written"
COLUMNS = {"key", "value", "updated_at"}
URLS, KEYS = "openai.api_base_urls", "openai.api_keys"
OPENAI_URL = "https://api.openai.com/v1"

Rows = dict[str, Any]


def sync(database: Path, settings: Settings, key: str) -> None:
    """Bring our rows in line with ``settings``, all or none. Open WebUI is not running.

    ``key`` is what it presents to our API.

    Does nothing in open mode, where Open WebUI does not read them, and nothing but warn when the
    table is not as Open WebUI 0.12 makes it. Raises ``SandboxError`` when the database cannot be
    read or written.
    """
    if settings.access == "open" or not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=10, isolation_level=None)) as connection:
            found = {row[1] for row in connection.execute("PRAGMA table_info(config)")}
            if found != COLUMNS:
                print(_warning(database, found), file=sys.stderr)
                return
            # Rolled back when closed before COMMIT.
            connection.execute("BEGIN IMMEDIATE")
            before = {
                name: _decoded(value)
                for name, value in connection.execute("SELECT key, value FROM config")
            }
            _save(connection, before, updated(before, settings, key))
            connection.execute("COMMIT")
    except (sqlite3.Error, ValueError) as error:
        raise SandboxError(
            f"The chat page's database {database} cannot be brought in line with the settings: "
            f"{error}.",
            "Nothing in it was changed. Is another Open WebUI running on UI_DATA_DIR, or is the "
            "disk full?",
        ) from None


def _decoded(value: str | bytes | float) -> Any:
    # SQLite gives a column of the type JSON numeric affinity: 7 comes back as a number.
    return value if isinstance(value, int | float) else json.loads(value)


def updated(before: Rows, settings: Settings, key: str) -> Rows:
    """The rows as they are to be, with ``key`` for our API; ``before`` stays as it is."""
    rows = dict(before)
    note = rows.get(NOTE_KEY)
    written: Rows = dict(note) if isinstance(note, dict) else {}
    for choice in choices.choices(settings):
        is_new = choice.key not in rows or written.get(choice.key) != choice.value
        if choice.always or is_new:
            now = rows.get(choice.key)
            others = now if choice.leaves and isinstance(now, dict) else None
            rows[choice.key] = choice.value if others is None else {**others, **choice.value}
        written[choice.key] = choice.value
    url = choices.api_url(settings)
    ours = {url, written.get(URLS)}
    rows[URLS], rows[KEYS] = _connections(rows, ours, url, key)
    written[URLS] = url
    rows[NOTE_KEY] = written
    return rows


def _connections(rows: Rows, ours: set[Any], url: str, key: str) -> tuple[list[str], list[str]]:
    """All URLs and keys with ours at its place: an administrator may have added others."""
    urls = [str(u) for u in rows.get(URLS) or []]
    keys = [str(k) for k in rows.get(KEYS) or []]
    keys = [*keys, *[""] * len(urls)][: len(urls)]
    if urls == [OPENAI_URL] and keys == [""]:
        # Open WebUI's own default, which nobody filled in.
        return [url], [key]
    place = next((i for i, known in enumerate(urls) if known in ours), len(urls))
    urls[place : place + 1] = [url]
    keys[place : place + 1] = [key]
    return urls, keys


def _save(connection: sqlite3.Connection, before: Rows, after: Rows) -> None:
    for key, value in after.items():
        if key in before and before[key] == value:
            continue
        connection.execute(
            "INSERT INTO config (key, value, updated_at) VALUES (?, ?, ?) ON CONFLICT (key)"
            " DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
            (key, json.dumps(value), int(time.time())),
        )


def _warning(database: Path, found: set[str]) -> str:
    columns = ", ".join(sorted(found)) or "none"
    return (
        f"ai-sandbox: warning: the table config of {database} has the columns {columns}, not "
        f"{', '.join(sorted(COLUMNS))}: it is not of Open WebUI 0.12. Nothing in it was changed, "
        "so settings changed since its first start do not reach the chat page."
    )
