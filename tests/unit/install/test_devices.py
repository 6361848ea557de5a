"""The GPUs' device files: what is made, with which numbers, and when nothing is done."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import devices
from tests.standins import gpu_machine
from tests.standins.programs import Programs

needs_root = pytest.mark.root("only root makes device files")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs(tmp_path / "bin", monkeypatch, only=True)
    programs.add("modprobe")
    return programs


def test_a_machine_without_a_card_is_left_alone(tmp_path: Path, programs: Programs) -> None:
    root = gpu_machine.make(tmp_path / "root")
    assert not devices.ensure_devices(root)
    assert programs.calls() == []


@needs_root
def test_missing_files_get_the_numbers_of_the_driver(tmp_path: Path, programs: Programs) -> None:
    root = gpu_machine.make(tmp_path / "root")
    gpu_machine.load_driver(root, cards=2)
    assert devices.ensure_devices(root)
    made = {path.name: path.stat() for path in (root / "dev").iterdir()}
    numbers = {name: (os.major(s.st_rdev), os.minor(s.st_rdev)) for name, s in made.items()}
    assert numbers == {
        "nvidiactl": (195, 255), "nvidia0": (195, 0), "nvidia1": (195, 1),
        "nvidia-uvm": (505, 0), "nvidia-uvm-tools": (505, 1),
    }  # fmt: skip
    assert {stat.S_IMODE(s.st_mode) for s in made.values()} == {0o666}


@needs_root
def test_a_second_run_makes_nothing(tmp_path: Path, programs: Programs) -> None:
    root = gpu_machine.make(tmp_path / "root")
    gpu_machine.load_driver(root)
    devices.ensure_devices(root)
    assert not devices.ensure_devices(root)


@needs_root
def test_nvidias_own_program_is_asked_first(tmp_path: Path, programs: Programs) -> None:
    programs.add("nvidia-modprobe")
    root = gpu_machine.make(tmp_path / "root")
    gpu_machine.load_driver(root)
    devices.ensure_devices(root)
    assert programs.calls("nvidia-modprobe") == ["nvidia-modprobe -u -c=0", "nvidia-modprobe -c 0"]


def test_a_driver_that_is_not_loaded_is_loaded(tmp_path: Path, programs: Programs) -> None:
    root = gpu_machine.make(tmp_path / "root")
    gpu_machine.add_card(root)
    devices.ensure_devices(root)
    assert programs.calls() == ["modprobe nvidia", "modprobe nvidia_uvm"]


def test_a_driver_that_cannot_be_loaded_is_told(tmp_path: Path, programs: Programs) -> None:
    programs.add("modprobe", "echo 'FATAL: Module nvidia not found' >&2; exit 1")
    root = gpu_machine.make(tmp_path / "root")
    gpu_machine.add_card(root)
    with pytest.raises(SandboxError, match="Module nvidia not found") as error:
        devices.ensure_devices(root)
    assert "ai-sandbox install" in error.value.hint
