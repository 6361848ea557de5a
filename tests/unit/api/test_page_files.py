"""The files of the status page, as they lie in the package."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from sandbox.api import assets

FOLDER = Path(assets.__file__).parent / "page"
OWN = [file for file in FOLDER.iterdir() if file.is_file()]


@pytest.mark.parametrize("name", ["uPlot.iife.min.js", "uPlot.min.css", "LICENSE"])
def test_the_chart_library_is_the_one_that_its_readme_names(name: str) -> None:
    library = FOLDER / "uplot"
    digest = hashlib.sha256((library / name).read_bytes()).hexdigest()
    rows = (library / "README.md").read_text(encoding="utf-8").splitlines()
    assert [digest in row for row in rows if row.startswith(f"| `{name}`")] == [True]


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_what_a_file_refers_to_is_served(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = set(re.findall(r"/assets/[\w./-]+", text))
    named |= {f"/assets/{name}" for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert named <= assets.FILES.keys()


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_a_file_stays_small(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400
