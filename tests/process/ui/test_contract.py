"""Open WebUI's own names and tables: a new version that changes one fails here first."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sandbox.settings import Settings
from sandbox.ui import choices, credentials, environment
from tests.process.ui.data_folder import MODEL, PATHS, prepare, query


@pytest.mark.parametrize("access", ["open", "protected"])
def test_open_webui_reads_every_choice_as_we_mean_it(data: Path, access: str) -> None:
    settings = prepare(data, access)
    script = (
        "import json; from open_webui.config import DEFAULT_CONFIG as c;"
        "from fastapi.encoders import jsonable_encoder;"
        "print('\\n' + json.dumps(jsonable_encoder(c)))"
    )
    run = subprocess.run(
        [str(PATHS.ui_env / "bin/python"), "-c", script],
        env=environment.compose(settings) | {"FROM_INIT_PY": "true"},
        cwd=data,
        stdout=subprocess.PIPE,
        check=True,
    )
    read = json.loads(run.stdout.splitlines()[-1])
    for choice in choices.choices(settings):
        assert read[choice.key] == choice.value
    assert read["openai.api_base_urls"] == [choices.api_url(settings)]
    assert read["openai.api_keys"] == [credentials.api_key(data)]
    assert len(read["ui.banners"]) == (1 if access == "open" else 0)


def test_open_webui_knows_every_variable_that_we_set(data: Path) -> None:
    given: dict[str, Any] = {"MODEL_ID": MODEL, "UI_DATA_DIR": data}
    (package,) = PATHS.ui_env.glob("lib/python*/site-packages/open_webui")
    source = "".join(
        (package / file).read_text() for file in ("config.py", "env.py", "__init__.py")
    )
    # Read by Python and by libraries.
    others = {*environment.INHERITED, "HOME", "HF_HOME", "HF_HUB_DISABLE_TELEMETRY", "NO_PROXY"}
    others |= {"no_proxy", "DO_NOT_TRACK", "SCARF_NO_ANALYTICS", "PYTHONUNBUFFERED"}
    unknown = [
        name
        for name in environment.compose(Settings(**given)).keys() - others
        if f"'{name}'" not in source and not name.startswith("AI_SANDBOX_")
    ]
    assert unknown == []


def test_the_database_has_the_schema_that_the_unit_tests_assume(data: Path) -> None:
    columns = query(data, "SELECT name, type, \"notnull\", pk FROM pragma_table_info('config')")
    assert columns == [
        ("key", "TEXT", 1, 1),
        ("value", "JSON", 1, 0),
        ("updated_at", "BIGINT", 0, 0),
    ]
