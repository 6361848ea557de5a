"""What the tests of stackscript.sh share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shell.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing happened yet."""
    return Machine(tmp_path)
