"""What the verbs of root's begin with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from sandbox import cli


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.root("other users are refused")
def test_roots_umask_and_programs_have_no_part_in_what_is_installed(
    strict_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/home/somebody/bin")
    cli._begin_as_root("install")
    assert os.umask(0o077) == 0o022
    assert "somebody" not in os.environ["PATH"]
    assert shutil.which("sh")
