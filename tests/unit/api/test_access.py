"""Whose key a request carries, and that a change of the files is noticed at the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import keys
from sandbox.api.access import CHAT_PAGE, KeyCheck
from sandbox.errors import ConfigError


def scope(key: str) -> dict[str, object]:
    return {"type": "http", "headers": [(b"authorization", f"Bearer {key}".encode())]}


@pytest.fixture
def named(tmp_path: Path) -> Path:
    return tmp_path / "box.keys"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "api-key.sha256"


@pytest.fixture
def check(named: Path, page: Path) -> KeyCheck:
    return KeyCheck(["a-given-key"], protected=True, named=named, page=page)


def test_a_key_is_accepted_from_when_it_is_made_until_it_is_removed(
    check: KeyCheck, named: Path, tmp_path: Path
) -> None:
    key = keys.add(named, "alice", tmp_path / "no.env")
    assert check.holder(scope(key)) == "alice"
    other = keys.add(named, "bob", tmp_path / "no.env")
    keys.remove(named, "alice", tmp_path / "no.env")
    assert not check.allows(scope(key))
    assert check.holder(scope(other)) == "bob"
    named.unlink()
    assert not check.allows(scope(other))


def test_the_chat_pages_key_follows_its_hash(check: KeyCheck, page: Path) -> None:
    for key in ("the-first", "the-second"):
        page.write_text(keys.digest(key) + "\n")
        assert check.holder(scope(key)) == CHAT_PAGE
    assert not check.allows(scope("the-first"))
    page.unlink()
    assert not check.allows(scope("the-second"))


@pytest.mark.parametrize("text", ["", "no hash", keys.digest("x") + "0", "\xff"])
def test_what_is_no_hash_opens_nothing(check: KeyCheck, page: Path, text: str) -> None:
    page.write_bytes(text.encode("latin-1"))
    assert check.count == 1
    assert not check.allows(scope(""))


def test_a_link_in_place_of_the_hash_is_not_followed(check: KeyCheck, page: Path) -> None:
    target = page.with_name("target")
    target.write_text(keys.digest("a-key"))
    page.symlink_to(target)
    assert not check.allows(scope("a-key"))


def test_a_file_that_breaks_later_leaves_the_keys_in_force(
    check: KeyCheck, named: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = keys.add(named, "alice", tmp_path / "no.env")
    assert check.allows(scope(key))
    named.write_text("{")
    assert check.allows(scope(key))
    assert not check.allows(scope("another"))
    # Said once, not at each request.
    assert len(caplog.records) == 1


def test_a_file_that_is_broken_at_the_start_is_a_wrong_setting(named: Path) -> None:
    named.write_text("{")
    with pytest.raises(ConfigError):
        KeyCheck((), named=named)


def test_protected_without_any_key_lets_nobody_in(named: Path) -> None:
    check = KeyCheck((), protected=True, named=named)
    assert check.needed
    assert not check.allows(scope(""))
    assert not check.allows({"type": "http", "headers": []})


def test_named_keys_alone_do_not_close_what_is_open(named: Path, tmp_path: Path) -> None:
    keys.add(named, "alice", tmp_path / "no.env")
    assert KeyCheck((), named=named).allows(scope("anything"))
