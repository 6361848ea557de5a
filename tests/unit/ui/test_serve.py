"""Which requests come from another site's page."""

from __future__ import annotations

import pytest

from sandbox.ui.serve import is_foreign


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        (None, "192.0.2.7:3000", False),
        ("http://192.0.2.7:3000", "192.0.2.7:3000", False),
        ("https://Chat.example", "chat.example", False),
        ("http://[::1]:3000", "[::1]:3000", False),
        ("http://evil.example", "192.0.2.7:3000", True),
        ("http://192.0.2.7:8000", "192.0.2.7:3000", True),
        ("http://192.0.2.7:3000.evil.example", "192.0.2.7:3000", True),
        ("null", "192.0.2.7:3000", True),
        ("", "192.0.2.7:3000", True),
        ("http://192.0.2.7:3000", None, True),
        ("null", None, True),
    ],
)
def test_another_site_is_told_by_its_origin(
    origin: str | None, host: str | None, foreign: bool
) -> None:
    given = [(b"origin", origin), (b"host", host)]
    assert (
        is_foreign([(name, text.encode()) for name, text in given if text is not None]) is foreign
    )
