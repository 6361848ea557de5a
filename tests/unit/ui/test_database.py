"""Our rows follow the settings; everything else in the database stays as people left it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import SandboxError
from sandbox.settings import Settings
from sandbox.ui import choices, database

# As Open WebUI 0.12.4 makes it; tests/process checks ours against a real one.
SCHEMA = (
    'CREATE TABLE config ("key" TEXT NOT NULL, value JSON NOT NULL, updated_at BIGINT,'
    ' PRIMARY KEY ("key"))'
)
URL = "http://127.0.0.1:8000/v1"
KEY = "a-long-key"


def settings(**given: Any) -> Settings:
    base = {"MODEL_ID": "some/model", "ACCESS": "protected"}
    return Settings(**base | given)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "webui.db"
    with closing(sqlite3.connect(made)) as connection:
        connection.execute(SCHEMA)
    return made


def rows(file: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT key, value FROM config").fetchall()
    # SQLite makes a number of a column's text that is one.
    return {k: v if isinstance(v, int | float) else json.loads(v) for k, v in found}


def change(file: Path, **values: Any) -> None:
    """What an administrator does in the page; a dot is written as two underscores."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for name, value in values.items():
            row = (name.replace("__", "."), json.dumps(value))
            connection.execute("INSERT OR REPLACE INTO config VALUES (?, ?, 1)", row)


def test_the_first_start_writes_every_choice(file: Path) -> None:
    database.sync(file, settings(), KEY)
    found = rows(file)
    for choice in choices.choices(settings()):
        assert found[choice.key] == choice.value
    assert found["openai.api_base_urls"] == [URL]
    assert found["openai.api_keys"] == [KEY]


def test_a_changed_port_and_key_replace_the_old_ones(file: Path) -> None:
    database.sync(file, settings(), KEY)
    database.sync(file, settings(API_PORT=18000), "another-key")
    assert rows(file)["openai.api_base_urls"] == ["http://127.0.0.1:18000/v1"]
    assert rows(file)["openai.api_keys"] == ["another-key"]


def test_a_wrong_address_written_in_the_page_gets_ours_beside_it(file: Path) -> None:
    database.sync(file, settings(), KEY)
    change(file, openai__api_base_urls=["http://elsewhere/v1"], openai__api_keys=["theirs"])
    database.sync(file, settings(), KEY)
    assert rows(file)["openai.api_base_urls"] == ["http://elsewhere/v1", URL]
    assert rows(file)["openai.api_keys"] == ["theirs", KEY]


def test_a_connection_added_in_the_page_keeps_its_place_and_key(file: Path) -> None:
    database.sync(file, settings(), KEY)
    urls = ["http://elsewhere/v1", URL, "http://third/v1"]
    change(file, openai__api_base_urls=urls, openai__api_keys=["theirs", KEY, "third"])
    database.sync(file, settings(API_PORT=18000), "another-key")
    assert rows(file)["openai.api_base_urls"] == [urls[0], "http://127.0.0.1:18000/v1", urls[2]]
    assert rows(file)["openai.api_keys"] == ["theirs", "another-key", "third"]


def test_open_webuis_own_default_connection_is_replaced(file: Path) -> None:
    change(file, openai__api_base_urls=["https://api.openai.com/v1"], openai__api_keys=[""])
    database.sync(file, settings(), KEY)
    assert rows(file)["openai.api_base_urls"] == [URL]


def test_a_choice_changed_in_the_page_stays_changed(file: Path) -> None:
    database.sync(file, settings(), KEY)
    change(file, ui__prompt_suggestions=[], task__title__enable=False)
    database.sync(file, settings(API_PORT=18000), KEY)
    assert rows(file)["ui.prompt_suggestions"] == []
    assert rows(file)["task.title.enable"] is False


def test_a_changed_model_is_preselected_whatever_was_chosen_before(file: Path) -> None:
    database.sync(file, settings(), KEY)
    change(file, ui__default_models="my-assistant")
    database.sync(file, settings(MODEL_ID="other/model"), KEY)
    assert rows(file)["ui.default_models"] == "other/model"


def test_side_jobs_come_back_when_a_larger_model_replaces_the_guide(file: Path) -> None:
    database.sync(file, settings(MODEL_ID="builtin:guide"), KEY)
    assert rows(file)["task.title.enable"] is False
    database.sync(file, settings(MODEL_ID="some/model"), KEY)
    assert rows(file)["task.title.enable"] is True


def test_rows_that_are_not_ours_are_left_alone(file: Path) -> None:
    change(file, ui__banners=[{"id": "theirs"}], rag__top_k=7, unknown__key={"a": [1, None]})
    before = rows(file)
    database.sync(file, settings(), KEY)
    after = rows(file)
    assert {key: after[key] for key in before} == before


def test_other_interface_settings_stay_beside_ours(file: Path) -> None:
    change(file, ui__default_interface_settings={"widescreenMode": True})
    database.sync(file, settings(), KEY)
    found = rows(file)["ui.default_interface_settings"]
    assert found == {"widescreenMode": True, "showChangelog": False}


def test_a_second_sync_writes_nothing(file: Path) -> None:
    database.sync(file, settings(), KEY)
    with closing(sqlite3.connect(file)) as connection:
        version = connection.execute("PRAGMA data_version").fetchone()
        database.sync(file, settings(), KEY)
        assert connection.execute("PRAGMA data_version").fetchone() == version


def test_open_mode_leaves_the_database_as_it_is(file: Path) -> None:
    change(file, ui__default_models="theirs")
    before = rows(file)
    database.sync(file, settings(ACCESS="open"), KEY)
    assert rows(file) == before


def test_no_database_yet_is_no_work(tmp_path: Path) -> None:
    database.sync(tmp_path / "webui.db", settings(), KEY)
    assert not (tmp_path / "webui.db").exists()


def test_another_table_is_left_alone_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "webui.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE config (id INTEGER, data JSON, version INTEGER)")
        connection.execute("INSERT INTO config VALUES (1, '{}', 0)")
    content = file.read_bytes()
    database.sync(file, settings(), KEY)
    assert file.read_bytes() == content
    assert "has the columns data, id, version" in capsys.readouterr().err


def test_a_row_that_is_no_json_stops_the_start_and_changes_nothing(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO config VALUES ('a', '{broken', 1)")
    with pytest.raises(SandboxError, match="cannot be brought in line"):
        database.sync(file, settings(), KEY)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT * FROM config").fetchall() == [("a", "{broken", 1)]


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "webui.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(SandboxError, match="file is not a database"):
        database.sync(file, settings(), KEY)
    assert file.read_bytes() == b"not a database" * 100
