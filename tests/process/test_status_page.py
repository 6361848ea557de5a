"""What the page is made of, over HTTP: its files and its headers."""

from __future__ import annotations

import httpx
import pytest

from tests.process.api_service import ApiService

FILES = ("/assets/page.js", "/assets/style.css", "/assets/uplot/uPlot.iife.min.js")


@pytest.mark.parametrize("path", ["/", *FILES])
def test_the_page_may_load_nothing_from_elsewhere(api: ApiService, path: str) -> None:
    answer = httpx.get(api.url + path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_unchanged_file_is_not_sent_again(api: ApiService) -> None:
    first = httpx.get(api.url + FILES[0])
    again = httpx.get(api.url + FILES[0], headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/assets/", "/assets/index.html", "/assets/uplot/README.md", "/assets/%2e%2e/page.py"]
)
def test_only_the_files_of_the_page_are_reachable(api: ApiService, path: str) -> None:
    assert httpx.get(api.url + path).status_code == 404
