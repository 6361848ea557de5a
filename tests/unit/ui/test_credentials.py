"""Secrets are made once, readable by their owner only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox import keys
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
    credentials.api_key(tmp_path)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(credentials.FILES, "0o600")


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


def test_the_hash_of_the_key_is_left_for_the_api(tmp_path: Path) -> None:
    place = tmp_path / "api-key.sha256"
    credentials.publish_api_key(tmp_path, place)
    assert place.read_text().strip() == keys.digest(credentials.api_key(tmp_path))
    assert place.stat().st_mode & 0o777 == 0o644
    assert sorted(file.name for file in tmp_path.iterdir()) == ["api-key", "api-key.sha256"]


def test_a_hash_that_cannot_be_left_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    credentials.publish_api_key(tmp_path, tmp_path / "no-folder/api-key.sha256")
    assert "it will refuse the chat page" in capsys.readouterr().err


def test_another_user_reads_a_secret(tmp_path: Path) -> None:
    (tmp_path / credentials.ADMIN_PASSWORD_FILE).write_text("a password\n")
    assert credentials.peek(tmp_path, credentials.ADMIN_PASSWORD_FILE) == "a password"


def test_no_secret_is_made_for_another_user(tmp_path: Path) -> None:
    assert credentials.peek(tmp_path, credentials.ADMIN_PASSWORD_FILE) is None
    assert not list(tmp_path.iterdir())


def test_the_file_stays_as_another_user_found_it(tmp_path: Path) -> None:
    file = tmp_path / credentials.ADMIN_PASSWORD_FILE
    file.write_text("a password\n")
    file.chmod(0o644)
    credentials.peek(tmp_path, credentials.ADMIN_PASSWORD_FILE)
    assert file.stat().st_mode & 0o777 == 0o644


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a secret of root's")
    (tmp_path / credentials.ADMIN_PASSWORD_FILE).symlink_to(tmp_path / "elsewhere")
    assert credentials.peek(tmp_path, credentials.ADMIN_PASSWORD_FILE) is None


def test_nothing_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / credentials.ADMIN_PASSWORD_FILE)
    assert credentials.peek(tmp_path, credentials.ADMIN_PASSWORD_FILE) is None


@pytest.mark.root("only root can give a folder away")
def test_a_file_of_another_user_than_the_folders_is_not_read(tmp_path: Path) -> None:
    (tmp_path / credentials.ADMIN_PASSWORD_FILE).write_text("a secret of root's")
    os.chown(tmp_path, 12345, -1)
    assert credentials.peek(tmp_path, credentials.ADMIN_PASSWORD_FILE) is None
