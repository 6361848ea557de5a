"""The page of what fits is what the program says today."""

from __future__ import annotations

from sandbox.models.plan.page import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make reference"
