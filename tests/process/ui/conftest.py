"""The real chat page in both modes, each started once for all tests that leave it as it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.ui import credentials
from tests.process.ui.data_folder import MODEL, Closed, copy, prepare, query
from tests.standins.chat_page import ApiStandIn, ChatPage, api_stand_in, chat_page

QUESTION = "Where does it run?"
ANSWER = "On your own machine."


@pytest.fixture(scope="session")
def backend() -> Iterator[ApiStandIn]:
    with api_stand_in(MODEL, question=QUESTION, answer=ANSWER) as started:
        yield started


@pytest.fixture(scope="session")
def page(backend: ApiStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatPage]:
    """The chat page in open mode."""
    folder = tmp_path_factory.mktemp("open")
    port = str(backend.port)
    with chat_page(folder / "data", folder / "log", MODEL_ID=MODEL, API_PORT=port) as started:
        yield started


@pytest.fixture(scope="session")
def visitor(page: ChatPage) -> Iterator[httpx.Client]:
    with page.sign_in() as client:
        yield client


@pytest.fixture(scope="session")
def made_open(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as the first start in open mode leaves it; copy it."""
    data = tmp_path_factory.mktemp("made")
    prepare(data, "open")
    return data


@pytest.fixture
def data(made_open: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_open, tmp_path / "data"))


@pytest.fixture(scope="session")
def closed(
    page: ChatPage, visitor: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Closed]:
    folder = tmp_path_factory.mktemp("closed")
    visitor.post("/api/v1/chats/new", json={"chat": {"title": "kept"}}).raise_for_status()
    visitor_id = visitor.get("/api/v1/auths/").json()["id"]
    data = copy(page.data, folder / "data")
    # As stock Open WebUI leaves it.
    query(data, "UPDATE user SET role = 'admin' WHERE id = ?", visitor_id)
    settings = {"MODEL_ID": MODEL, "ACCESS": "protected"}
    with (
        api_stand_in(MODEL, key=credentials.api_key(data)) as backend,
        chat_page(data, folder / "log", API_PORT=str(backend.port), **settings) as started,
    ):
        yield Closed(started, backend, visitor_id, visitor.headers["Authorization"])


@pytest.fixture(scope="session")
def admin(closed: Closed) -> Iterator[httpx.Client]:
    password = credentials.admin_password(closed.page.data)
    with closed.page.sign_in(credentials.ADMIN_EMAIL, password) as client:
        yield client
