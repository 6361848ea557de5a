"""What a reload changes, and what it says of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.engine import changes
from sandbox.settings import Loaded, Settings, load


def settings(**given: str) -> Settings:
    return Settings(**given)  # type: ignore[arg-type]  # parsing the text is what it is for


def loaded(folder: Path, text: str, **environ: str) -> Loaded:
    file = folder / "box.env"
    file.write_text(text)
    return load(env_file=file, environ=environ)


@pytest.mark.parametrize(
    ("change", "same_engine", "same_preparation"),
    [
        ({}, True, True),
        ({"UI_PORT": "4000"}, True, True),
        ({"HF_TOKEN": "hf_x"}, True, False),
        ({"MODEL_ID": "owner/other"}, False, False),
        ({"MAX_MODEL_LEN": "512"}, False, False),
        ({"VLLM_EXTRA_ARGS": "--max-num-seqs 4"}, False, False),
    ],
)
def test_what_the_engine_was_told_decides(
    change: dict[str, str], same_engine: bool, same_preparation: bool
) -> None:
    old, new = settings(), settings(**change)
    assert changes.same_engine(old, new) is same_engine
    assert changes.same_preparation(old, new) is same_preparation


def test_what_only_a_start_can_change_stays() -> None:
    old = settings(API_PORT="8001")
    assert changes.in_force(old, settings(API_PORT="8002", MODEL_ID="a/b")) == settings(
        API_PORT="8001", MODEL_ID="a/b"
    )


def test_each_setting_that_takes_more_is_said(tmp_path: Path) -> None:
    new = loaded(
        tmp_path,
        "API_PORT=8001\nMODELS_DIR=/srv\nUI_PORT=3001\nAPI_KEY=long-enough\nHF_TOKEN=hf_x\n",
    )
    before: dict[str, object] = {"api_port": 8000, "models_dir": Path("/m"), "ui_port": 3000}
    old = new.settings.model_copy(update=before | {"api_key": None, "hf_token": None})
    fixed, page, key, fetched = changes.notices(old, new)
    assert fixed.startswith("API_PORT and MODELS_DIR changed, which takes a restart of the service")
    assert page.startswith("UI_PORT changed, which takes a restart of the chat page")
    assert key.startswith("API_KEY changed")
    assert fetched == "HF_TOKEN changed: used from the next download on."
    assert "long-enough" not in key
    # Said once; what takes a restart is said again and again.
    assert changes.notices(changes.acknowledged(old, new.settings), new) == [fixed, page]


def test_a_value_that_the_environment_overrides_is_said(tmp_path: Path) -> None:
    new = loaded(tmp_path, "MODEL_ID=a/b\n", MODEL_ID="c/d")
    assert new.settings.model_id == "c/d"
    (said,) = changes.notices(new.settings, new)
    assert said.startswith(f"MODEL_ID of {tmp_path}/box.env is not in force")
