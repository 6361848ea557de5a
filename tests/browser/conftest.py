"""The stack that the browser looks at, and the browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.standins.chat_page import api_stand_in, chat_page

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build/screenshots"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class Stack:
    """A running API and chat page, and a question that the served model answers for sure."""

    api_url: str
    ui_url: str
    question: str
    answer: str


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real chat page with a stand-in for the API."""
    folder = tmp_path_factory.mktemp("stack")
    model = "builtin:guide"
    question = "How do I change the model?"
    answer = "Set MODEL_ID in /etc/ai-sandbox.env, then run: systemctl restart ai-sandbox-api"
    with (
        api_stand_in(model, question=question, answer=answer) as api,
        chat_page(folder / "data", folder / "log", MODEL_ID=model, API_PORT=str(api.port)) as page,
    ):
        yield Stack(api.url, page.url, question, answer)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()
