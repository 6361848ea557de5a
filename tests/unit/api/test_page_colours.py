"""Text and lines on the page can be seen: the contrast that WCAG 2.2 asks for (AA)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.api import assets

STYLE = (Path(assets.__file__).parent / "page/style.css").read_text(encoding="utf-8")
# By the names of the colours in the style: what text has, and what lies behind it.
TEXTS = ("ink", "soft", "accent", "good", "busy", "bad")
GROUNDS = ("ground", "card", "code")
PAIRS = [f"{text} on {ground}" for text in TEXTS for ground in GROUNDS]
PAIRS += [f"{text} on bad-ground" for text in ("ink", "soft", "bad", "accent")]
PAIRS += ["on-accent on accent"]


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root {(.*?)}", STYLE, re.DOTALL)[:2]
    named = dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6})\b", light))
    return named | dict(
        re.findall(r"--([a-z-]+): #([0-9a-f]{6})\b", dark if scheme == "dark" else "")
    )


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(scheme: str, pair: str) -> float:
    named = colours(scheme)
    low, high = sorted(luminance(named[name]) for name in pair.split(" on "))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS)
def test_text_stands_out(scheme: str, pair: str) -> None:
    assert contrast(scheme, pair) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("line", ["first", "second"])
def test_the_lines_of_charts_stand_out(scheme: str, line: str) -> None:
    assert contrast(scheme, f"{line} on card") >= 3
