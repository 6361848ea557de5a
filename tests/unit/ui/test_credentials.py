"""Secrets are made once, readable by their owner only."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.ui import credentials


def test_the_secret_key_stays_the_same(tmp_path: Path) -> None:
    assert credentials.secret_key(tmp_path) == credentials.secret_key(tmp_path)


def test_each_folder_has_a_secret_key_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert credentials.secret_key(tmp_path) != credentials.secret_key(tmp_path / "other")


def test_only_the_owner_can_read_the_secrets(tmp_path: Path) -> None:
    credentials.secret_key(tmp_path)
    credentials.admin_password(tmp_path)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    assert modes == {".webui_secret_key": "0o600", "admin-password": "0o600"}


def test_a_secret_that_others_could_read_is_closed(tmp_path: Path) -> None:
    file = tmp_path / credentials.SECRET_KEY_FILE
    file.write_text("from elsewhere")
    file.chmod(0o644)
    assert credentials.secret_key(tmp_path) == "from elsewhere"
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / credentials.SECRET_KEY_FILE).touch()
    assert len(credentials.secret_key(tmp_path)) > 40


def test_a_secret_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    (tmp_path / credentials.SECRET_KEY_FILE).mkdir()
    with pytest.raises(SandboxError, match="cannot be read or made: Is a directory"):
        credentials.secret_key(tmp_path)
