"""Named keys: shown once, kept as hashes, changed by one process at a time."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from sandbox import keys
from sandbox.errors import ConfigError, SandboxError


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    file = tmp_path / "box.env"
    file.touch()
    file.chmod(0o640)
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "box.keys"


def test_only_a_hash_of_a_key_is_kept(file: Path, env_file: Path) -> None:
    key = keys.add(file, "alice", env_file)
    assert key not in file.read_text()
    assert keys.read(file)["alice"].digest == keys.digest(key)


def test_each_key_is_another_one(file: Path, env_file: Path) -> None:
    made = {keys.add(file, f"key-{number}", env_file) for number in range(20)}
    assert len(made) == 20
    assert all(len(key) > 48 for key in made)


def test_a_removed_key_is_gone_and_the_others_stay(file: Path, env_file: Path) -> None:
    for name in ("alice", "bob"):
        keys.add(file, name, env_file)
    keys.remove(file, "alice", env_file)
    assert list(keys.read(file)) == ["bob"]


@pytest.mark.parametrize("name", ["", "a b", "-a", "../a", "a" * 65, "ä", "a\n"])
def test_a_strange_name_is_refused(file: Path, env_file: Path, name: str) -> None:
    with pytest.raises(SandboxError, match="cannot be called"):
        keys.add(file, name, env_file)
    assert not file.exists()


def test_a_name_is_given_once(file: Path, env_file: Path) -> None:
    keys.add(file, "alice", env_file)
    kept = file.read_text()
    with pytest.raises(SandboxError, match="called alice already"):
        keys.add(file, "alice", env_file)
    assert file.read_text() == kept


def test_a_misspelt_name_is_suggested(file: Path, env_file: Path) -> None:
    keys.add(file, "alice", env_file)
    with pytest.raises(SandboxError) as refused:
        keys.remove(file, "alcie", env_file)
    assert "alice" in refused.value.hint


def test_nothing_is_made_by_a_removal(file: Path, env_file: Path) -> None:
    with pytest.raises(SandboxError, match="no named keys"):
        keys.remove(file, "alice", env_file)
    assert not file.exists()


def test_who_reads_the_settings_reads_the_hashes_and_nobody_else(
    file: Path, env_file: Path
) -> None:
    keys.add(file, "alice", env_file)
    assert file.stat().st_mode & 0o777 == 0o640
    env_file.chmod(0o644)
    keys.add(file, "bob", env_file)
    assert file.stat().st_mode & 0o777 == 0o640
    env_file.chmod(0o600)
    keys.add(file, "carol", env_file)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.root("only root can give a file away")
def test_the_file_belongs_to_whom_the_settings_belong(file: Path, env_file: Path) -> None:
    os.chown(env_file, 12345, 12346)
    keys.add(file, "alice", env_file)
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)


def test_without_an_env_file_the_keys_are_the_owners_alone(file: Path, tmp_path: Path) -> None:
    keys.add(file, "alice", tmp_path / "no.env")
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 1}', '{"a": {"digest": "sk-plain", "made": "x"}}', "\0"]
)
def test_a_broken_file_is_a_wrong_setting_and_stays(file: Path, env_file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match="keys"):
        keys.read(file)
    with pytest.raises(ConfigError):
        keys.add(file, "alice", env_file)
    assert file.read_text() == text


def _add_ten(file: Path, env_file: Path, who: int) -> None:
    for number in range(10):
        keys.add(file, f"{who}-{number}", env_file)


def test_many_at_once_lose_nothing(file: Path, env_file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    adding = [context.Process(target=_add_ten, args=(file, env_file, who)) for who in range(4)]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
        assert process.exitcode == 0
    assert len(keys.read(file)) == 40
    assert sorted(p.name for p in file.parent.iterdir()) == ["box.env", "box.keys"]
