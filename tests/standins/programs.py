"""Small programs of a test's own in front of the system's on PATH; each call is noted."""

from __future__ import annotations

from pathlib import Path

import pytest


class Programs:
    """A folder on PATH. A program's text is shell; ``calls`` has one line for each call."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, only: bool = False) -> None:
        self.folder = folder
        folder.mkdir()
        self._log = folder / ".calls"
        monkeypatch.setenv("PATH", str(folder), prepend=None if only else ":")

    def add(self, name: str, text: str = "") -> None:
        """Make the program ``name``; without a text it does nothing well."""
        program = self.folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {self._log}\n{text}\n')
        program.chmod(0o755)

    def calls(self, name: str = "") -> list[str]:
        """The command lines of all calls, or of the program ``name``."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if line.startswith(f"{name} " if name else "")]
