"""Releases side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import pack, releases
from sandbox.paths import Box


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The least that is a release."""
    folder = tmp_path / "source"
    for name in pack.CONTENT:
        file = folder / name / "file.txt" if "." not in name else folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (folder / "sandbox/__init__.py").write_text('__version__ = "1.2.3"\n')
    return folder


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "machine")


def test_a_release_has_the_version_and_what_is_in_it_in_its_name(source: Path, box: Box) -> None:
    before = releases.name_of(source)
    assert before.startswith("1.2.3-")
    (source / "sandbox/file.txt").write_text("other")
    assert releases.name_of(source) != before


def test_what_is_not_part_of_a_release_changes_nothing(source: Path) -> None:
    before = releases.name_of(source)
    (source / "data").mkdir()
    (source / "data/chat.db").write_text("")
    (source / "sandbox/__pycache__").mkdir()
    (source / "sandbox/__pycache__/x.pyc").write_text("")
    assert releases.name_of(source) == before


def test_staging_twice_changes_nothing(source: Path, box: Box) -> None:
    release = releases.stage(source, box)
    (release / "api").mkdir()
    assert releases.stage(source, box) == release
    assert (release / "api").is_dir()
    assert (release / "sandbox/file.txt").read_text() == "sandbox"


def test_a_folder_that_only_root_could_enter_is_opened_to_the_services(
    source: Path, box: Box
) -> None:
    box.home.mkdir(parents=True, mode=0o700)
    release = releases.stage(source, box)
    folders = (box.home, box.releases, release)
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o755"] * 3


def test_what_a_killed_staging_left_is_removed(source: Path, box: Box) -> None:
    (box.releases / f"{releases.NEW}1.0.0-0").mkdir(parents=True)
    release = releases.stage(source, box)
    assert list(box.releases.iterdir()) == [release]


def test_a_staged_release_is_the_release_that_it_was_staged_from(source: Path, box: Box) -> None:
    assert releases.name_of(releases.stage(source, box)) == releases.name_of(source)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, box: Box) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(SandboxError, match="not a release of AI Sandbox"):
        releases.stage(tmp_path / "other", box)
    assert not box.releases.exists()


def test_a_link_is_moved_and_never_absent(source: Path, box: Box, tmp_path: Path) -> None:
    one = releases.stage(source, box)
    (source / "sandbox/file.txt").write_text("two")
    two = releases.stage(source, box)
    releases.point(box.current, one)
    releases.point(box.current, two)
    assert releases.target_of(box.current) == two.resolve()
    # It holds when the whole disk is looked at from elsewhere.
    moved = tmp_path / "moved"
    shutil.move(str(box.root), moved)
    assert releases.target_of(Box(moved).current) == Box(moved).releases.resolve() / two.name


def test_old_releases_go_and_the_two_that_are_linked_stay(source: Path, box: Box) -> None:
    made = []
    for text in ("one", "two", "three"):
        (source / "sandbox/file.txt").write_text(text)
        made.append(releases.stage(source, box))
    releases.point(box.previous, made[1])
    releases.point(box.current, made[2])
    assert releases.prune(box) == [made[0]]
    assert sorted(box.releases.iterdir()) == sorted(made[1:])


def test_a_release_that_a_power_cut_damaged_is_mended_with_its_environments(
    source: Path, box: Box
) -> None:
    release = releases.stage(source, box)
    (release / "api").mkdir()
    (release / "sandbox/file.txt").write_text("")
    (release / "README.md").unlink()
    (release / "sandbox/more.txt").write_text("not of the release")
    assert releases.stage(source, box) == release
    assert releases.name_of(release) == release.name
    assert (release / "api").is_dir()
    assert list(box.releases.iterdir()) == [release]
