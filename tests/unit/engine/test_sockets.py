"""vLLM's sockets lie in a folder that is emptied and removed."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.engine import sockets


@pytest.fixture(autouse=True)
def nobody_has_named_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that what the code sets is undone.
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.delenv(sockets.VARIABLE)


def test_it_is_emptied_between_engines_and_gone_at_the_end() -> None:
    with sockets.folder():
        place = Path(os.environ[sockets.VARIABLE])
        assert place.stat().st_mode & 0o777 == 0o700
        (place / "socket").touch()
        sockets.empty()
        assert list(place.iterdir()) == []
        (place / "socket").touch()
    assert not place.exists()


def test_its_path_is_short_enough_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with sockets.folder():
        assert len(os.environ[sockets.VARIABLE]) <= 70
    assert list(deep.iterdir()) == []


def test_a_folder_that_a_person_named_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sockets.VARIABLE, str(tmp_path))
    (tmp_path / "socket").touch()
    with sockets.folder():
        sockets.empty()
    assert (tmp_path / "socket").exists()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder whose path is short."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_what_a_killed_launcher_left_is_removed(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, foreign = short / "ai-sandbox-sockets-left", short / "ai-sandbox-sockets-foreign"
    for folder in (left, foreign):
        folder.mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(left / "one"))
    (foreign / "notes").touch()
    for folder in (left, foreign):
        os.utime(folder, (0, 0))
    with sockets.folder():
        assert not left.exists()
        assert (foreign / "notes").exists()
        mine = Path(os.environ[sockets.VARIABLE])
        os.utime(mine, (0, 0))
        monkeypatch.delenv(sockets.VARIABLE)
        with sockets.folder():
            # Another launcher's, which is alive.
            assert mine.exists()
