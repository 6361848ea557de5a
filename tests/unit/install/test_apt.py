"""The distribution's packages: what is installed, what is told, what is never taken along."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import apt
from sandbox.install.commands import Commands
from tests.standins import package_manager
from tests.standins.programs import Programs

ARCHIVE = "g++: gcc libstdc\ngcc: \nlibstdc: \nshell: \ntheir-tool: gcc\n"


class Machine:
    """A machine with the stand-in's packages."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "distribution"
        self.folder.mkdir()
        self.lists = self.folder / "lists"
        (self.folder / "archive").write_text(ARCHIVE)
        self.install("shell")
        self.programs = Programs(folder / "bin", monkeypatch)
        for name in ("apt-get", "apt-cache", "dpkg-query"):
            program = f"{sys.executable} {package_manager.__file__} {self.folder} {name}"
            self.programs.add(name, f'exec {program} "$@"')
        self.programs.add("dpkg")
        self.commands = Commands(folder / "log", pauses_s=(0.0,))
        self.noted: list[str] = []

    def install(self, *names: str) -> None:
        (self.folder / "installed").write_text("\n".join(names))

    def installed(self) -> set[str]:
        return set((self.folder / "installed").read_text().split())

    def says_once(self, *lines: str) -> None:
        (self.folder / "broken").write_text("".join(f"{line}\n" for line in lines))

    def ensure(self, *names: str) -> list[str]:
        return apt.ensure_packages(
            names, self.commands, note=self.noted.extend, lists=self.lists
        )  # fmt: skip


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_missing_packages_come_with_what_they_need(box: Machine) -> None:
    assert box.ensure("g++", "shell") == ["g++", "gcc", "libstdc"]
    assert box.installed() == {"g++", "gcc", "libstdc", "shell"}


def test_packages_that_are_there_cost_no_call_of_apt(box: Machine) -> None:
    assert box.ensure("shell") == []
    assert box.programs.calls("apt-get") == []


def test_what_will_be_new_is_noted_before_anything_is_installed(box: Machine) -> None:
    box.says_once("", "E: the disk is full")
    with pytest.raises(SandboxError, match="the disk is full"):
        box.ensure("g++")
    assert box.noted == ["g++", "gcc", "libstdc"]


def test_fresh_lists_are_not_read_again(box: Machine) -> None:
    box.ensure("gcc")
    box.ensure("g++")
    assert len([c for c in box.programs.calls("apt-get") if "update" in c]) == 1


def test_lists_that_lack_a_package_are_read_again(box: Machine) -> None:
    box.ensure("gcc")
    (box.folder / "archive.newer").write_text(f"{ARCHIVE}newer: \n")
    assert box.ensure("newer") == ["newer"]


def test_a_package_that_nobody_has_is_a_sentence_with_its_name(box: Machine) -> None:
    with pytest.raises(SandboxError) as error:
        box.ensure("no-such-package")
    assert "no-such-package" in error.value.message
    assert "Unable to locate" in error.value.message
    assert "sudo apt-get install no-such-package" in error.value.hint


def test_a_lock_of_another_package_manager_is_waited_for(box: Machine) -> None:
    box.says_once("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt)")
    assert box.ensure("gcc") == ["gcc"]


def test_what_a_killed_installation_left_is_completed_first(box: Machine) -> None:
    box.says_once("", "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'")
    assert box.ensure("gcc") == ["gcc"]
    assert box.programs.calls("dpkg") == ["dpkg --configure -a"]


def test_a_network_failure_is_tried_again(box: Machine) -> None:
    box.says_once("Err: Temporary failure resolving 'mirror'")
    assert box.ensure("gcc") == ["gcc"]


def test_apt_never_asks_and_waits_for_the_lock(box: Machine) -> None:
    box.ensure("gcc")
    (install,) = [c for c in box.programs.calls("apt-get") if "--yes" in c]
    assert "DPkg::Lock::Timeout=1200" in install
    assert "--no-install-recommends" in install


def test_our_packages_are_purged(box: Machine) -> None:
    new = box.ensure("g++")
    assert apt.purge_packages(new, box.commands) == []
    assert box.installed() == {"shell"}


def test_a_package_that_somebody_else_needs_stays_with_what_it_needs(box: Machine) -> None:
    new = box.ensure("g++")
    box.install(*box.installed(), "their-tool")
    assert apt.purge_packages(new, box.commands) == ["gcc"]
    assert box.installed() == {"gcc", "shell", "their-tool"}


def test_packages_that_are_gone_already_are_no_error(box: Machine) -> None:
    assert apt.purge_packages(["g++"], box.commands) == []
    assert not [c for c in box.programs.calls("apt-get") if "purge" in c]
