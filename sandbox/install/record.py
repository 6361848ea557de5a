"""What the installer changed that must be known to undo it: JSON in the installation's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sandbox.paths import Box


class Record:
    """Facts by name, each written at once; ``packages`` and ``motd_before`` are such facts."""

    def __init__(self, box: Box) -> None:
        self._file = box.record

    def get(self, name: str, default: Any = None) -> Any:
        """The fact ``name``."""
        return self._read().get(name, default)

    def has(self, name: str) -> bool:
        """True when the fact was noted, whatever it is."""
        return name in self._read()

    def note(self, name: str, value: Any) -> None:
        """Keep the fact ``name``; as it was, when a first run already noted it the same."""
        facts = self._read()
        if name in facts and facts[name] == value:
            return
        facts[name] = value
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        with new.open("w", encoding="utf-8") as stream:
            json.dump(facts, stream, indent=2)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._file)

    def add_packages(self, names: list[str]) -> None:
        """Note packages of the distribution that were installed by us."""
        if names:
            self.note("packages", sorted({*self.get("packages", []), *names}))

    def _read(self) -> dict[str, Any]:
        try:
            facts = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}


def read_text(file: Path) -> str | None:
    """The text of ``file``; None when there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
