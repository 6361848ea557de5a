"""When `ai-sandbox use` has seen enough."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import use

NEW = "owner/new"


def status(state: str, model_id: str, following: str = "", switching: bool = False) -> Any:
    return {
        "state": state,
        "model": "one-name-for-all",
        "model_id": model_id,
        "next": {"state": following} if following else None,
        "switching": switching,
        "notice": "",
    }


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (status("ready", NEW), 0),
        # SERVED_MODEL_NAME may be the same: this is the old one.
        (status("ready", "owner/old"), 1),
        (status("ready", "owner/old", "downloading"), None),
        (status("ready", "owner/old", "failed"), 1),
        (status("loading", NEW, switching=True), None),
        # The old one is loaded again: how that ends is waited for.
        (status("loading", "owner/old", "failed", switching=True), None),
        # The old one failed while the new one was on its way, which takes its place now.
        (status("failed", "owner/old", "loading"), None),
        (status("failed", NEW), 1),
    ],
)
def test_the_end_is_seen(seen: dict[str, Any], code: int | None) -> None:
    assert use._outcome(seen, NEW) == code
