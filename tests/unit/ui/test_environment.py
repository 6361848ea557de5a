"""The environment of Open WebUI is all ours, and follows the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.settings import Settings
from sandbox.ui import choices, environment


def settings(data: Path, **given: Any) -> Settings:
    return Settings(**{"UI_DATA_DIR": data, "MODEL_ID": "some/model", **given})


def compose(data: Path, **given: Any) -> dict[str, str]:
    return environment.compose(settings(data, **given))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:18000/v1"),
        ("::", "http://127.0.0.1:18000/v1"),
        ("127.0.0.1", "http://127.0.0.1:18000/v1"),
        ("192.0.2.7", "http://192.0.2.7:18000/v1"),
        ("::1", "http://[::1]:18000/v1"),
    ],
)
def test_our_api_is_the_only_backend(tmp_path: Path, host: str, url: str) -> None:
    composed = compose(tmp_path, API_HOST=host, API_PORT=18000)
    assert composed["OPENAI_API_BASE_URLS"] == url
    assert composed["ENABLE_OLLAMA_API"] == "False"


def test_the_api_gets_a_key_of_the_chat_pages_own(tmp_path: Path) -> None:
    composed = compose(tmp_path, API_KEY="first-key-1, second-key-2")
    assert composed["OPENAI_API_KEYS"] == (tmp_path / "api-key").read_text().strip()
    # Open WebUI splits its list of keys there.
    assert ";" not in composed["OPENAI_API_KEYS"]


def test_the_served_name_is_preselected(tmp_path: Path) -> None:
    assert compose(tmp_path)["DEFAULT_MODELS"] == "some/model"
    assert compose(tmp_path, SERVED_MODEL_NAME="mine")["DEFAULT_MODELS"] == "mine"


def test_a_stray_variable_does_not_reach_open_webui(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENABLE_PLUGINS", "OPENAI_API_BASE_URL", "REDIS_URL", "PYTHONPATH", "WEBUI_NAME"):
        monkeypatch.setenv(name, "stray")
    assert "stray" not in compose(tmp_path).values()


def test_the_way_out_of_the_machine_is_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/own.pem")
    composed = compose(tmp_path)
    assert composed["https_proxy"] == "http://proxy.example:3128"
    assert composed["SSL_CERT_FILE"] == "/etc/ssl/own.pem"


def test_our_api_is_reached_without_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "intern.example")
    composed = compose(tmp_path, API_HOST="192.0.2.7")
    assert composed["no_proxy"].split(",") == ["intern.example", "192.0.2.7", "127.0.0.1"]


def test_every_folder_is_below_the_data_folder(tmp_path: Path) -> None:
    composed = compose(tmp_path)
    for name in ("HOME", "HF_HOME", "DATA_DIR", "STATIC_DIR"):
        assert Path(composed[name]).is_relative_to(tmp_path)


def test_the_secret_key_is_that_of_the_data_folder(tmp_path: Path) -> None:
    composed = compose(tmp_path)
    assert composed["WEBUI_SECRET_KEY"] == (tmp_path / ".webui_secret_key").read_text().strip()
    assert compose(tmp_path)["WEBUI_SECRET_KEY"] == composed["WEBUI_SECRET_KEY"]


def test_the_guide_model_gets_no_side_jobs_and_its_own_questions(tmp_path: Path) -> None:
    composed = compose(tmp_path, MODEL_ID="builtin:guide")
    jobs = {name: value for name, value in composed.items() if name.endswith("_GENERATION")}
    # Image generation is off by default.
    jobs.pop("ENABLE_IMAGE_GENERATION", None)
    assert len(jobs) == 6
    assert set(jobs.values()) == {"False"}
    questions = json.loads(composed["DEFAULT_PROMPT_SUGGESTIONS"])
    assert questions == json.loads(choices.GUIDE_SUGGESTIONS.read_text())
    assert all(question["title"] and question["content"] for question in questions)


def test_another_model_makes_titles_and_gets_general_questions(tmp_path: Path) -> None:
    composed = compose(tmp_path)
    assert composed["ENABLE_TITLE_GENERATION"] == "True"
    assert json.loads(composed["DEFAULT_PROMPT_SUGGESTIONS"]) == choices.SUGGESTIONS


def test_open_mode_has_no_login_and_says_so_in_a_banner(tmp_path: Path) -> None:
    composed = compose(tmp_path)
    assert composed["WEBUI_AUTH"] == "False"
    (banner,) = json.loads(composed["WEBUI_BANNERS"])
    assert banner["type"] == "warning"
    assert "ai-sandbox protect" in banner["content"]


@pytest.mark.parametrize("name", environment.OFF_WHEN_OPEN)
def test_what_is_dangerous_without_a_login_is_off(tmp_path: Path, name: str) -> None:
    assert compose(tmp_path)[name] == "False"


def test_protected_mode_has_a_login_and_no_sign_up(tmp_path: Path) -> None:
    composed = compose(tmp_path, ACCESS="protected", API_KEY="a-long-key")
    assert composed["WEBUI_AUTH"] == "True"
    assert composed["ENABLE_SIGNUP"] == "False"
    assert json.loads(composed["WEBUI_BANNERS"]) == []
    assert composed["WEBUI_ADMIN_PASSWORD"] == (tmp_path / "admin-password").read_text().strip()


def test_the_name_and_the_logo_stay_open_webuis(tmp_path: Path) -> None:
    assert not {"WEBUI_NAME", "CUSTOM_NAME", "WEBUI_FAVICON_URL"} & compose(tmp_path).keys()
