"""A first visit to the chat page in a real browser, at desk and at phone width."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect

from sandbox.ui import choices
from tests.browser.conftest import SCREENSHOTS, Stack

# Only against a hang: the model may be a real one that was just loaded.
PATIENCE_MS = 60_000


class Screen(NamedTuple):
    name: str
    width: int
    height: int


SCREENS = (Screen("desk", 1280, 800), Screen("phone", 390, 844))


@pytest.fixture(params=SCREENS, ids=lambda screen: screen.name)
def screen(request: pytest.FixtureRequest) -> Screen:
    chosen: Screen = request.param
    return chosen


@pytest.fixture
def page(browser: Browser, stack: Stack, screen: Screen) -> Iterator[Page]:
    """A first visit: nothing is stored in the browser."""
    context = browser.new_context(viewport={"width": screen.width, "height": screen.height})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    page.goto(stack.ui_url)
    expect(page.locator("#chat-input")).to_be_visible()
    # "You're now logged in" covers the banner on a phone until it goes.
    expect(page.locator("[data-sonner-toast]")).to_have_count(0)
    yield page
    context.close()


def shoot(page: Page, screen: Screen, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"chat-{name}-{screen.name}.png")


def ask(page: Page, question: str) -> None:
    page.locator("#chat-input").click()
    page.keyboard.type(question)
    page.keyboard.press("Enter")


def test_a_first_visit_shows_an_empty_chat_with_the_model_and_the_warning(
    page: Page, screen: Screen
) -> None:
    expect(page.get_by_text("builtin:guide").first).to_be_visible()
    expect(page.get_by_text("This page is open:")).to_be_visible()
    expect(page.get_by_text("Suggested")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    shoot(page, screen, "first-visit")


def test_a_question_is_answered(page: Page, stack: Stack, screen: Screen) -> None:
    ask(page, stack.question)
    answer = page.locator(".chat-assistant").last
    expect(answer).to_contain_text(stack.answer)
    # For screen readers, when the last word is there.
    expect(page.get_by_text("Response complete")).to_be_attached()
    shoot(page, screen, "answer")


def test_a_suggested_question_is_asked_with_one_click(page: Page) -> None:
    questions = json.loads(choices.GUIDE_SUGGESTIONS.read_text(encoding="utf-8"))
    # A few of them are shown, by chance.
    titles = re.compile("|".join(re.escape(question["title"][1]) for question in questions))
    page.get_by_role("button").filter(has_text=titles).first.click()
    expect(page.locator(".chat-user").last).to_contain_text(titles)
    expect(page.locator(".chat-assistant").last).not_to_be_empty()


def test_nothing_is_fetched_from_elsewhere(browser: Browser, stack: Stack) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(stack.ui_url)
    expect(page.locator("#chat-input")).to_be_visible(timeout=PATIENCE_MS)
    context.close()
    local = (stack.ui_url, "data:", "blob:", stack.ui_url.replace("http", "ws", 1))
    assert [url for url in asked if not url.startswith(local)] == []


def test_what_runs_on_the_server_is_not_offered(page: Page) -> None:
    for name in ("Code Interpreter", "Web Search", "Admin Panel", "Workspace"):
        expect(page.get_by_text(name)).to_have_count(0)
