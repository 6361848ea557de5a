"""The screens that people have: desk and phone, light and dark; and what a page did on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.conftest import SCREENSHOTS

# Only against a hang: a model loads meanwhile.
PATIENCE_MS = 300_000


class Screen(NamedTuple):
    """Width and height in CSS pixels."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]


SCREENS = tuple(
    Screen(f"{name}-{scheme}", width, height, scheme)
    for name, width, height in (("desk", 1280, 800), ("phone", 375, 812))
    for scheme in ("light", "dark")
)


@dataclass
class View:
    """An open page with its screen, the addresses it asked for, and what it complained of."""

    page: Page
    screen: Screen
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def shoot(self, name: str) -> None:
        """Take a picture of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"status-{name}-{self.screen.name}.png"
        self.page.screenshot(path=path, full_page=True)

    @property
    def fits(self) -> bool:
        """True when nothing sticks out of the screen's width."""
        fits: bool = self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        return fits


@contextlib.contextmanager
def opened(browser: Browser, screen: Screen) -> Iterator[View]:
    """An empty page on ``screen``."""
    context: BrowserContext = browser.new_context(
        viewport={"width": screen.width, "height": screen.height}, color_scheme=screen.scheme
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE_MS)
    view = View(context.new_page(), screen)
    view.page.on("request", lambda request: view.asked.append(request.url))
    view.page.on("pageerror", lambda error: view.complaints.append(str(error)))
    view.page.on(
        "console",
        lambda said: view.complaints.append(said.text) if said.type == "error" else None,
    )
    yield view
    context.close()
