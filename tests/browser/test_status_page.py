"""The API's own page in a real browser: what it shows of a model's way to its first answer."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from sandbox.models.guide import guide_folder
from tests.browser.conftest import Stack
from tests.browser.screens import PATIENCE_MS, SCREENS, View, opened
from tests.process.api_service import free_port, serving
from tests.process.processes import running

MODEL = "owner/guide-copy"
KEY = "a-long-enough-key"


@pytest.fixture(params=SCREENS, ids=lambda screen: screen.name)
def view(request: pytest.FixtureRequest, browser: Browser) -> Iterator[View]:
    """An empty page on one of the screens."""
    expect.set_options(timeout=PATIENCE_MS)
    with opened(browser, request.param) as view:
        yield view


@pytest.fixture
def views(browser: Browser) -> Iterator[list[View]]:
    """An empty page on each of the screens, all at once."""
    expect.set_options(timeout=PATIENCE_MS)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(opened(browser, screen)) for screen in SCREENS]


@contextlib.contextmanager
def slow_hub(folder: Path) -> Iterator[str]:
    """A hub with one model that takes about half a minute; gives its address."""
    shutil.copytree(guide_folder(), folder / "hub" / MODEL)
    port = free_port()
    command = [sys.executable, "-m", "tests.standins.hub", str(folder / "hub"), str(port)]
    with running([*command, "250000"], folder) as program:
        program.wait_for("listening")
        yield f"http://127.0.0.1:{port}"


def steps(page: Page) -> list[str]:
    return [text.split()[0] for text in page.locator("#phases li").all_inner_texts()]


def test_the_page_walks_from_download_to_ready_and_to_a_failure(
    views: list[View], tmp_path: Path
) -> None:
    port = str(free_port())
    with slow_hub(tmp_path) as hub:
        settings = {"API_PORT": port, "API_KEY": KEY, "HF_ENDPOINT": hub}
        with serving(tmp_path, MODEL_ID=MODEL, **settings) as service:
            service.wait_for("downloading")
            for view in views:
                view.page.goto(service.url)
            for view in views:
                expect(view.page.locator("#state")).to_have_text("Downloading")
                expect(view.page.locator("#message")).to_contain_text(f"{MODEL} is downloading: ")
                expect(view.page.locator("#percent")).to_have_text(re.compile(r"^[\d.]+%$"))
                expect(view.page.get_by_role("progressbar")).to_have_attribute(
                    "aria-valuenow", re.compile(r"^\d+$")
                )
                expect(view.page.locator("#use")).to_be_hidden()
                # As planned.
                expect(view.page.locator("#details")).to_contain_text("1,024 tokens")
                view.shoot("downloading")
            for view in views:
                expect(view.page.locator("#state")).to_have_text("Loading")
                assert steps(view.page)[-3:] == ["downloading", "loading", "ready"]
                expect(view.page.locator("#phases .passed").last).to_contain_text(" s")
                view.shoot("loading")
            for view in views:
                expect(view.page.locator("#state")).to_have_text("Ready")
                expect(view.page.locator("#announce")).to_contain_text(f"{MODEL} is ready.")
                # The key is asked for in the examples, and never shown.
                expect(view.page.locator("#curl")).to_contain_text("Bearer $API_KEY")
                assert KEY not in view.page.content()
                expect(view.page.locator("#charts figure")).to_have_count(4)
                assert view.fits
                view.shoot("ready")
                # Until here the service was there, so nothing went wrong.
                assert view.complaints == []
                assert [url for url in view.asked if not url.startswith(service.url)] == []
        for view in views:
            expect(view.page.locator("#state")).to_have_text("Not reachable")
        settings["MODEL_ID"] = "owner/typo"
        with serving(tmp_path, **settings):
            for view in views:
                # Without a reload.
                expect(view.page.locator("#state")).to_have_text("Failed")
                expect(view.page.locator("#message")).to_contain_text("owner/typo was not found")
                expect(view.page.locator("#hint")).to_contain_text("MODEL_ID")
                expect(view.page.locator("#chat")).to_be_hidden()
                assert view.fits
                view.shoot("failed")


@pytest.mark.parametrize("state", ["downloading", "failed"])
def test_the_next_model_is_shown_beside_the_one_that_serves(
    view: View, stack: Stack, state: str
) -> None:
    view.page.goto(stack.api_url)
    expect(view.page.locator("#state")).to_have_text("Ready")
    progress = {"percent": 43.0} if state == "downloading" else None
    hint = "Accept the terms at https://huggingface.co/owner/gated, then reload."
    following = {"state": state, "model": MODEL, "message": f"{MODEL} is gated.", "hint": hint}
    status = httpx.get(f"{stack.api_url}/status").json()
    status |= {"next": following | {"progress": progress}, "notice": "UI_PORT changed."}
    view.page.evaluate("s => import('/assets/status.js').then(m => m.showStatus(s))", status)
    expect(view.page.locator("#state")).to_have_text("Ready")
    expect(view.page.locator("#next-message")).to_have_text(f"{MODEL} is gated.")
    expect(view.page.locator("#next-hint")).to_have_text(hint)
    link = view.page.locator("#next-hint a")
    expect(link).to_have_attribute("href", "https://huggingface.co/owner/gated")
    expect(view.page.locator("#note")).to_contain_text("UI_PORT changed.")
    bar = view.page.locator("#next-bar")
    if progress:
        expect(bar).to_have_attribute("aria-valuenow", "43")
    else:
        expect(bar).to_be_hidden()
    assert view.fits
    assert view.complaints == []
    view.shoot(f"next-{state}")


def test_the_model_and_how_to_call_it_are_shown(view: View, stack: Stack) -> None:
    page = view.page
    page.goto(stack.api_url)
    expect(page.locator("#address")).to_have_text(f"{stack.api_url}/v1")
    expect(page.locator("#chat")).to_have_attribute("href", f"{stack.ui_url}/")
    expect(page.locator("#details")).to_contain_text("1,024 tokens")
    expect(page.locator("#details div").filter(has_text="Quantization")).to_contain_text("none")
    expect(page.locator("#reasons li").first).to_contain_text("the weights take")
    expect(page.locator("#routes")).to_contain_text("/v1/chat/completions")
    # No key is needed here.
    expect(page.locator("#key")).to_be_hidden()
    expect(page.locator("#curl")).not_to_contain_text("API_KEY")


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_an_example_is_copied_as_it_is_shown(browser: Browser, stack: Stack, language: str) -> None:
    with opened(browser, SCREENS[0]) as view:
        page = view.page
        page.goto(stack.api_url)
        page.get_by_role("tab", name=language).click()
        shown = page.locator(f"#{language.lower()}")
        expect(shown).to_contain_text(stack.api_url)
        page.get_by_role("button", name=f"Copy the {language} example").click()
        expect(page.get_by_text("Copied", exact=True).first).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == shown.text_content()


def test_copying_works_without_a_clipboard_for_scripts(browser: Browser, stack: Stack) -> None:
    with opened(browser, SCREENS[0]) as view:
        # As over plain HTTP from another machine.
        view.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: null})")
        view.page.goto(stack.api_url)
        button = view.page.get_by_role("button", name="Copy the address")
        button.click()
        expect(button).to_have_text("Copied")


def test_the_shown_curl_command_is_answered(browser: Browser, stack: Stack) -> None:
    with opened(browser, SCREENS[0]) as view:
        view.page.goto(stack.api_url)
        expect(view.page.locator("#curl")).to_contain_text("chat/completions")
        command = view.page.locator("#curl").text_content()
    assert command
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert '"finish_reason":"stop"' in answer.stdout, answer.stderr


def test_the_languages_are_chosen_with_the_arrow_keys(browser: Browser, stack: Stack) -> None:
    with opened(browser, SCREENS[0]) as view:
        page = view.page
        page.goto(stack.api_url)
        page.get_by_role("tab", name="curl").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Python")).to_be_focused()
        expect(page.get_by_role("tabpanel")).to_have_accessible_name("Python")
        page.keyboard.press("End")
        expect(page.get_by_role("tabpanel")).to_have_accessible_name("JavaScript")


def test_the_charts_show_what_was_asked(view: View, stack: Stack) -> None:
    view.page.goto(stack.api_url)
    tokens = view.page.get_by_role("img", name="Tokens per second in the last hour")
    for _ in range(3):
        body = {"messages": [{"role": "user", "content": stack.question}]}
        assert httpx.post(f"{stack.api_url}/v1/chat/completions", json=body).status_code == 200
    # The chart said in words: not only zeros.
    expect(tokens).to_have_attribute("aria-label", re.compile(r"highest [1-9]"))
    view.page.get_by_text("The same as a table").click()
    expect(view.page.locator("#rows tr").first).to_be_visible()
    assert view.fits
    assert view.complaints == []
    view.shoot("charts")


def test_a_gpu_has_charts_of_its_own(view: View, stack: Stack) -> None:
    view.page.route("**/status/history*", hour_with_gpu)
    view.page.goto(stack.api_url)
    memory = view.page.get_by_role("img", name="GPU memory in the last hour")
    expect(memory).to_have_attribute("aria-label", re.compile(r"now 18 of 20 GiB"))
    heat = view.page.get_by_role("img", name="GPU temperature in the last hour")
    expect(heat).to_have_attribute("aria-label", re.compile("highest 70 °C"))
    assert view.page.locator("#charts figure").count() == 7
    assert view.fits
    view.shoot("gpu")


def hour_with_gpu(route: Route) -> None:
    """Answer as a busy machine with a GPU does that was started anew 25 minutes ago."""
    now = time.time()
    count = 720 if "since=0" in route.request.url else 0
    busy = [abs((row * 7) % 240 - 120) / 120 for row in range(count)]
    serving = [not 400 < row < 420 for row in range(count)]

    def of_model(values: list[float]) -> list[float | None]:
        return [value if on else None for value, on in zip(values, serving, strict=True)]

    samples: dict[str, list[Any]] = {
        "time": [now - 5 * (count - row) for row in range(count)],
        "generated_tokens_per_second": of_model([400 * b for b in busy]),
        "prompt_tokens_per_second": of_model([90 * b for b in busy]),
        "requests_running": of_model([round(8 * b) for b in busy]),
        "requests_waiting": of_model([max(0, round(8 * b) - 6) for b in busy]),
        "kv_cache_percent": of_model([70 * b for b in busy]),
        "first_token_p50_seconds": of_model([0.08 + 0.1 * b for b in busy]),
        "first_token_p95_seconds": of_model([0.1 + 0.5 * b for b in busy]),
        "gpu_memory_bytes": [18 * 2**30 for _ in busy],
        "gpu_utilization_percent": [100 * b for b in busy],
        "gpu_temperature_celsius": [40 + round(30 * b) for b in busy],
    }
    gpu = {"count": 1, "memory_total_bytes": 20 * 2**30}
    about = {"now": now, "interval_seconds": 5, "window_seconds": 3600, "gpu": gpu}
    route.fulfill(json=about | {"samples": samples})
