"""Which folders may become the services' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.install import folders
from sandbox.paths import Box
from sandbox.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/srv").mkdir(parents=True)
    return tmp_path / "root"


def refused(root: Path, models: str = "srv/m", chats: str = "srv/c") -> str:
    """What is said of these folders below ``root``; "" when nothing is."""
    settings = Settings(MODELS_DIR=root / models, UI_DATA_DIR=root / chats)  # type: ignore[call-arg]
    problems = folders.check(settings, Box(root))
    assert all(problem.hint for problem in problems)
    return "\n".join(problem.message for problem in problems)


def test_folders_that_are_not_there_yet_are_fine(root: Path) -> None:
    assert refused(root) == ""


@pytest.mark.parametrize("file", ["lost+found", "models--owner--name", "cache/vllm"])
def test_an_empty_volume_and_what_we_left_are_fine(root: Path, file: str) -> None:
    (root / "srv/m" / file).mkdir(parents=True)
    assert refused(root) == ""


def test_a_link_to_a_volume_is_fine(root: Path) -> None:
    (root / "mnt/volume").mkdir(parents=True)
    (root / "srv/m").symlink_to(root / "mnt/volume")
    assert refused(root) == ""


def test_something_else_in_it_is_named(root: Path) -> None:
    (root / "srv/c/photos").mkdir(parents=True)
    assert "'photos'" in refused(root)


@pytest.mark.parametrize(
    "place", ["", "home/me", "root/m", "run/user/0", "tmp/m", "opt/ai-sandbox"]
)
def test_places_that_services_do_not_see_are_refused(root: Path, place: str) -> None:
    assert "MODELS_DIR is" in refused(root, models=place)


def test_a_link_to_such_a_place_is_refused(root: Path) -> None:
    (root / "srv/m").symlink_to(root / "home/me")
    assert "below" in refused(root)


def test_a_file_is_refused(root: Path) -> None:
    (root / "srv/m").write_text("")
    assert "no folder" in refused(root)


@pytest.mark.parametrize("name", ["a b", "a%n", 'a"', "a'", "a\\", "a\tb", "a$b"])
def test_a_name_that_units_do_not_take_is_refused(root: Path, name: str) -> None:
    assert "MODELS_DIR is" in refused(root, models=f"srv/{name}")


def test_one_in_the_other_is_refused(root: Path) -> None:
    assert "one in the other" in refused(root, models="srv/m", chats="srv/m/chats")


def test_all_problems_come_at_once(root: Path) -> None:
    said = refused(root, models="home/a", chats="srv/a b")
    assert "MODELS_DIR is" in said and "UI_DATA_DIR is" in said
