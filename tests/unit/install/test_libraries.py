"""libnuma: left to the system that has it, explained where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import libraries
from sandbox.install.commands import Commands


def environment(tmp_path: Path, python: str) -> Path:
    """A folder with a Python that is the shell script ``python``."""
    folder = tmp_path / "environment"
    (folder / "lib/python3.11/site-packages").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/python").write_text(f"#!/bin/sh\n{python}\n")
    (folder / "bin/python").chmod(0o755)
    return folder


def test_a_system_with_the_library_gets_nothing(tmp_path: Path) -> None:
    folder = environment(tmp_path, "exit 0")
    libraries.ensure_numa(folder, Commands(tmp_path / "log"))
    assert not list(folder.rglob("*.pth"))


def test_without_apt_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = environment(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"libnuma\.so\.1") as raised:
        libraries.ensure_numa(folder, Commands(tmp_path / "log"))
    assert "libnuma1" in raised.value.hint
