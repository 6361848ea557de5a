"""One installer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install.lock import only_installer
from sandbox.paths import Box


def test_a_second_installer_is_told_who_the_first_is(tmp_path: Path) -> None:
    second = only_installer(Box(tmp_path))
    with only_installer(Box(tmp_path)), pytest.raises(SandboxError, match=r"PID \d+"):
        second.__enter__()
    with only_installer(Box(tmp_path)):
        pass


def test_only_root_can_open_the_lock_of_an_older_installation_too(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.home.mkdir(parents=True)
    (box.home / "lock").touch(0o644)
    with only_installer(box):
        assert (box.home / "lock").stat().st_mode & 0o777 == 0o600
