"""The chat page behind a login, after it was open before."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from sandbox.ui import credentials, provision
from tests.process.ui.data_folder import MODEL, Closed, copy
from tests.standins.chat_page import api_stand_in, chat_page


@pytest.mark.parametrize(
    ("email", "password"), [(provision.VISITOR, "admin"), ("", ""), ("admin@ai-sandbox.local", "")]
)
def test_nobody_signs_in_without_the_password(closed: Closed, email: str, password: str) -> None:
    form = {"email": email, "password": password}
    assert httpx.post(f"{closed.page.url}/api/v1/auths/signin", json=form).status_code == 400


def test_nobody_signs_up(closed: Closed) -> None:
    form = {"name": "a", "email": "a@b.example", "password": "x"}
    assert httpx.post(f"{closed.page.url}/api/v1/auths/signup", json=form).status_code == 403


@pytest.mark.parametrize("path", ["/api/models", "/api/v1/chats/", "/api/v1/files/"])
def test_a_session_of_open_mode_is_over(closed: Closed, path: str) -> None:
    headers = {"Authorization": closed.open_session}
    assert httpx.get(f"{closed.page.url}{path}", headers=headers).status_code == 401


def test_the_administrator_is_there_from_the_start(admin: httpx.Client) -> None:
    assert admin.get("/api/v1/auths/").json()["role"] == "admin"


def test_the_administrator_sees_the_chats_of_open_mode(closed: Closed, admin: httpx.Client) -> None:
    chats = admin.get(f"/api/v1/chats/list/user/{closed.visitor_id}").json()
    assert "kept" in [chat["title"] for chat in chats]


def test_no_banner_says_that_the_page_is_open(admin: httpx.Client) -> None:
    assert admin.get("/api/v1/configs/banners").json() == []


def test_the_api_gets_its_key(closed: Closed, admin: httpx.Client) -> None:
    assert [model["id"] for model in admin.get("/api/models").json()["data"]] == [MODEL]
    own = f"Bearer {credentials.api_key(closed.page.data)}"
    assert {seen["authorization"] for seen in closed.backend.seen()} == {own}


def test_a_changed_port_and_key_reach_the_chat_page_and_the_rest_stays(
    closed: Closed, admin: httpx.Client, tmp_path: Path
) -> None:
    mine = [{"title": ["Mine", ""], "content": "Mine?"}]
    admin.post("/api/v1/configs/suggestions", json={"suggestions": mine}).raise_for_status()
    data = copy(closed.page.data, tmp_path / "data")
    (data / credentials.API_KEY_FILE).unlink()
    settings = {"MODEL_ID": MODEL, "ACCESS": "protected"}
    with (
        api_stand_in(MODEL, key=credentials.api_key(data)) as backend,
        chat_page(data, tmp_path / "log", API_PORT=str(backend.port), **settings) as page,
        page.sign_in(credentials.ADMIN_EMAIL, credentials.admin_password(data)) as client,
    ):
        assert [model["id"] for model in client.get("/api/models").json()["data"]] == [MODEL]
        assert client.get("/api/config").json()["default_prompt_suggestions"] == mine
