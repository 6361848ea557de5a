"""The installation's page in a real browser: progress, failure, and what comes after it."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from sandbox.host.processes import die_with_parent
from tests.browser.conftest import SCREENSHOTS
from tests.process.api_service import COMMAND, environment, free_port
from tests.process.processes import running, wait_until

# Only against a hang: Open WebUI starts meanwhile.
PATIENCE_MS = 240_000
STEPS = (
    ("Installer", "done", None, 5.2),
    ("Settings and users", "done", None, 0.4),
    ("System packages", "done", None, 18.2),
    ("GPU driver", "skipped", None, 0.0),
    ("Environment of the API", "done", None, 41.0),
    ("Environment of the chat page", "running", None, 52.9),
    ("Model", "running", 43, 73.4),
    ("Accounts of the chat page", "waiting", None, None),
    ("Services", "waiting", None, None),
    ("First answer", "waiting", None, None),
)
NOTHING: dict[str, Any] = {"percent": None, "seconds": None}
FAILURE = {
    "step": "Model",
    "reason": "mistralai/Mistral-7B-Instruct-v0.3 needs 14.5 GB in /opt/models; 9.1 GB are free.",
    "hint": "Free 6 GB there, then run `sudo ai-sandbox install` again.",
    "log": "/var/log/ai-sandbox/model.log",
}


class Screen(NamedTuple):
    width: int
    scheme: Any


SCREENS = [Screen(*screen) for screen in itertools.product((375, 1280), ("light", "dark"))]


class Installation(NamedTuple):
    """A progress page and the file that it shows."""

    url: str
    port: int
    file: Path
    process: subprocess.Popen[bytes]

    def report(self, **changed: Any) -> None:
        """Write as the installer does; it began 94 s ago."""
        now = time.time()
        names = ("name", "state", "percent", "seconds")
        progress = {
            "model": "mistralai/Mistral-7B-Instruct-v0.3",
            "state": "running",
            "percent": 58,
            "began": now - 94,
            "now": now,
            "steps": [dict(zip(names, step, strict=True)) for step in STEPS],
            "failure": None,
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(progress | changed))
        new.replace(self.file)

    def fail(self) -> None:
        """Write as the installer does when the model cannot be downloaded."""
        steps: list[dict[str, Any]] = [
            {"name": name, "state": state, "percent": None, "seconds": seconds}
            for name, state, _, seconds in STEPS
        ]
        for step in steps:
            if step["state"] == "running":
                step["state"] = "failed" if step["name"] == FAILURE["step"] else "waiting"
        self.report(state="failed", steps=steps, failure=FAILURE)


@contextlib.contextmanager
def installing(folder: Path) -> Iterator[Installation]:
    port = free_port()
    file = folder / "progress.json"
    command = [sys.executable, "-m", "sandbox.install.progress_page", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--file", str(file)]
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url).status_code == 200
        return False

    with subprocess.Popen(command, preexec_fn=die_with_parent) as process:
        try:
            wait_until(is_up, 30)
            yield Installation(url, port, file, process)
        finally:
            process.terminate()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installing(tmp_path) as started:
        yield started


@contextlib.contextmanager
def opened(browser: Browser, screen: Screen, **options: Any) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": screen.width, "height": 800}, color_scheme=screen.scheme, **options
    )
    expect.set_options(timeout=PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(params=SCREENS, ids=lambda screen: f"{screen.width}-{screen.scheme}")
def screen(request: pytest.FixtureRequest) -> Screen:
    chosen: Screen = request.param
    return chosen


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser, SCREENS[-1]) as made:
        yield made


def shoot(page: Page, screen: Screen, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    file = SCREENSHOTS / f"install-{name}-{screen.width}-{screen.scheme}.png"
    page.screenshot(path=file, full_page=True)


def test_the_steps_are_shown_at_every_width(
    browser: Browser, screen: Screen, installation: Installation
) -> None:
    installation.report()
    with opened(browser, screen) as page:
        page.goto(installation.url)
        expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "58")
        expect(page.get_by_role("listitem")).to_have_count(len(STEPS))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shoot(page, screen, "running")


def test_a_failure_is_shown_with_what_to_do(
    browser: Browser, screen: Screen, installation: Installation
) -> None:
    installation.fail()
    with opened(browser, screen) as page:
        page.goto(installation.url)
        expect(page.locator("#state")).to_have_text("failed at: Model")
        expect(page.locator("#headline")).to_have_text(FAILURE["reason"])
        expect(page.locator("#todo")).to_have_text(FAILURE["hint"].replace("`", ""))
        expect(page.locator("#log")).to_have_text(FAILURE["log"])
        shoot(page, screen, "failed")


def test_the_page_follows_the_installer_without_a_reload(
    page: Page, installation: Installation
) -> None:
    page.goto(installation.url)
    expect(page.locator("#headline")).to_have_text("The installer has not reported anything yet.")
    page.evaluate("window.isTheSame = true")
    installation.report(percent=12)
    expect(page.locator("#percent")).to_have_text("12%")
    expect(page).to_have_title("12% · Installing AI Sandbox")
    installation.report(percent=13, steps=[{"name": "Only one", "state": "done"} | NOTHING])
    expect(page.locator("#news")).to_have_text("1 of 1 steps are done, 13 percent.")
    installation.fail()
    expect(page.locator("#state")).to_have_text("failed at: Model")
    assert page.evaluate("window.isTheSame")


def test_without_scripts_the_page_says_how_far_it_is(
    browser: Browser, installation: Installation
) -> None:
    installation.report()
    with opened(browser, SCREENS[0], java_script_enabled=False) as page:
        page.goto(installation.url)
        expect(page.get_by_text("5 of 10 steps are done, 58%.")).to_be_visible()
        installation.report(percent=59)
        expect(page.get_by_text("5 of 10 steps are done, 59%.")).to_be_visible()


def test_the_chat_page_comes_after_it_by_way_of_the_waiting_page(
    browser: Browser, installation: Installation, tmp_path: Path
) -> None:
    installation.report(state="done", percent=100)
    settings = environment(
        tmp_path, MODEL_ID="some/model", UI_HOST="127.0.0.1", UI_PORT=str(installation.port)
    )
    with contextlib.ExitStack() as stack:
        pages = {screen: stack.enter_context(opened(browser, screen)) for screen in SCREENS}
        for page in pages.values():
            page.goto(installation.url)
        installation.process.terminate()
        installation.process.wait()
        stack.enter_context(running([str(COMMAND), "ui"], tmp_path, settings))
        for screen, page in pages.items():
            expect(page.locator("#headline")).to_have_text("The chat page is starting")
            shoot(page, screen, "chat-page-starts")
        for page in pages.values():
            expect(page.locator("#chat-input")).to_be_visible()


def test_the_apis_page_comes_after_it(
    page: Page, installation: Installation, tmp_path: Path
) -> None:
    installation.report(state="done", percent=100)
    page.goto(installation.url)
    installation.process.terminate()
    installation.process.wait()
    settings = environment(tmp_path, MODEL_ID="/nowhere", API_PORT=str(installation.port))
    with running([str(COMMAND), "serve"], tmp_path, settings):
        expect(page.locator("#message")).to_have_text("The model folder /nowhere does not exist.")


def test_a_network_that_is_away_for_a_moment_changes_nothing(
    page: Page, installation: Installation
) -> None:
    installation.report(percent=20)
    page.goto(installation.url)
    page.evaluate("window.isTheSame = true")
    page.context.set_offline(True)
    expect(page.locator("#hint")).to_contain_text("No answer at this address")
    page.context.set_offline(False)
    installation.report(percent=21)
    expect(page.locator("#percent")).to_have_text("21%")
    expect(page.locator("#hint")).to_be_hidden()
    assert page.evaluate("window.isTheSame")


def test_nothing_is_fetched_from_elsewhere(page: Page, installation: Installation) -> None:
    installation.report()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(installation.url)
    page.wait_for_event("response")
    assert [url for url in asked if not url.startswith((installation.url, "data:"))] == []
