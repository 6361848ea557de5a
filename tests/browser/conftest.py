"""The stack that the browser looks at, and the browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from sandbox.models.guide.topics import read_topics
from tests.process.api_service import COMMAND, GUIDE, environment, free_port
from tests.process.processes import running

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
    """Both services as `make run` starts them, with the guide model."""
    folder = tmp_path_factory.mktemp("stack")
    api, ui = free_port(), free_port()
    settings = environment(
        folder, MODEL_ID=GUIDE, API_PORT=str(api), UI_PORT=str(ui), UI_HOST="127.0.0.1"
    )
    # An answer that the page shows to the letter: no Markdown in it.
    topic = next(topic for topic in read_topics() if not set("`*_<") & set(topic.answer))
    with running([str(COMMAND), "up"], folder, settings) as program:
        program.wait_for("API ready", seconds=300)
        program.wait_for("Chat page ready", seconds=300)
        where = "http://127.0.0.1:"
        yield Stack(f"{where}{api}", f"{where}{ui}", topic.question, topic.answer)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()
