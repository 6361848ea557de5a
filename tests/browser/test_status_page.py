"""The API's own page in a real browser: loading, ready, failed; at desk and at phone width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENSHOTS, Stack
from tests.process.api_service import serving

SCREENS = {"desk": (1280, 800, "light"), "phone": (390, 844, "dark")}
# Only against a hang: a model loads meanwhile.
PATIENCE_MS = 120_000


@pytest.fixture(params=SCREENS)
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """An empty page of one of the screens."""
    width, height, scheme = SCREENS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    expect.set_options(timeout=PATIENCE_MS)
    yield context.new_page()
    context.close()


def shoot(page: Page, name: str) -> None:
    size = page.viewport_size
    assert size is not None
    screen = next(name for name, (width, *_) in SCREENS.items() if width == size["width"])
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"status-{name}-{screen}.png", full_page=True)


def test_the_page_follows_the_model_until_it_is_ready(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.wait_for("loading")
        page.goto(service.url)
        expect(page.locator("#message")).to_have_text("builtin:guide is loading.")
        expect(page.locator("#use")).to_be_hidden()
        shoot(page, "loading")
        # Without a reload.
        expect(page.locator("#state")).to_have_text("ready")
        shoot(page, "ready")


def test_a_failure_is_shown_with_what_to_do(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, MODEL_ID="/nowhere") as service:
        service.wait_for("failed")
        page.goto(service.url)
        expect(page.locator("#message")).to_have_text("The model folder /nowhere does not exist.")
        expect(page.locator("#hint")).to_be_visible()
        expect(page.locator("#chat")).to_be_hidden()
        shoot(page, "failed")


def test_the_examples_have_the_real_address(page: Page, stack: Stack) -> None:
    page.goto(stack.api_url)
    expect(page.locator("#curl")).to_contain_text(f"curl {stack.api_url}/v1/chat/completions")
    expect(page.locator("#python")).to_contain_text(f'base_url="{stack.api_url}/v1"')
    expect(page.locator("#chat")).to_have_attribute("href", f"{stack.ui_url}/")


def test_the_page_fits_its_width_and_asks_nothing_elsewhere(page: Page, stack: Stack) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(stack.api_url)
    expect(page.locator("#state")).to_have_text("ready")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [url for url in asked if not url.startswith((stack.api_url, "data:"))] == []
