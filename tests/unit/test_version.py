"""The version has one owner, sandbox/__init__.py."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import sandbox

ROOT = Path(__file__).resolve().parents[2]


def test_pyproject_has_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == sandbox.__version__


def test_the_installed_project_has_the_same_version() -> None:
    assert metadata.version("ai-sandbox") == sandbox.__version__
