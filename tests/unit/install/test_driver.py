"""The GPU's driver: what is left alone, what is brought, what is refused in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import driver
from sandbox.install.commands import Commands
from tests.standins import gpu_machine, package_manager
from tests.standins.programs import Programs

KERNEL = gpu_machine.KERNEL
PREBUILT = f"linux-modules-nvidia-580-server-open-{KERNEL}"
FOLLOWS = "linux-modules-nvidia-580-server-open-generic"
USER_SPACE = "libnvidia-compute-580-server: \nnvidia-utils-580-server: \n"
BUILT_HERE = f"nvidia-dkms-580-server-open: \nlinux-headers-{KERNEL}: \n"
ARCHIVE = f"{PREBUILT}: \n{FOLLOWS}: \n{USER_SPACE}{BUILT_HERE}linux-image-generic: \n"


class Machine:
    """A machine with a card and no driver, whose modprobe loads what is asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = gpu_machine.make(folder / "root")
        gpu_machine.add_card(self.root)
        self.packages = folder / "distribution"
        self.packages.mkdir()
        (self.packages / "archive").write_text(ARCHIVE)
        (self.packages / "installed").write_text("linux-image-generic")
        self.programs = Programs(folder / "bin", monkeypatch)
        for name in ("apt-get", "apt-cache", "dpkg-query"):
            program = f"{sys.executable} {package_manager.__file__} {self.packages} {name}"
            self.programs.add(name, f'exec {program} "$@"')
        self.programs.add("modinfo", "echo 580.95.05")
        loaded = self.root / "sys/module"
        self.programs.add("modprobe", f"mkdir -p {loaded}/$1; echo 580.95.05 > {loaded}/$1/version")
        self.commands = Commands(folder / "log", pauses_s=())
        self.noted: list[str] = []

    def ensure(self, wanted: bool = False) -> list[str]:
        return driver.ensure_driver(
            self.commands, lambda text: None, self.noted.extend, wanted=wanted, root=self.root
        )


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_machine_without_a_card_is_left_alone(tmp_path: Path, box: Machine) -> None:
    box.root = gpu_machine.make(tmp_path / "plain")
    assert box.ensure() == []
    assert box.programs.calls() == []
    assert not (box.root / driver.HELD_BACK).exists()


@pytest.mark.parametrize("version", ["580.95.05", "595.10"])
def test_a_driver_that_is_new_enough_is_left_alone(box: Machine, version: str) -> None:
    gpu_machine.load_driver(box.root, version)
    assert box.ensure() == []
    assert box.programs.calls() == []
    assert not (box.root / driver.BLACKLIST).exists()


def test_an_older_driver_is_refused_with_both_numbers(box: Machine) -> None:
    gpu_machine.load_driver(box.root, "535.183.01")
    with pytest.raises(SandboxError, match=r"535\.183\.01.*580"):
        box.ensure()
    assert box.programs.calls() == []


def test_prebuilt_modules_for_the_running_kernel_are_installed_and_loaded(box: Machine) -> None:
    new = box.ensure()
    assert set(new) == {
        PREBUILT, FOLLOWS, "libnvidia-compute-580-server", "nvidia-utils-580-server",
    }  # fmt: skip
    assert box.programs.calls("modprobe") == ["modprobe nvidia", "modprobe nvidia_uvm"]


def test_a_second_run_changes_nothing(box: Machine) -> None:
    box.ensure()
    before = len(box.programs.calls())
    assert box.ensure() == []
    assert len(box.programs.calls()) == before


def test_modules_follow_the_kernels_that_the_machine_follows(box: Machine) -> None:
    hwe = f"{FOLLOWS}-hwe-24.04"
    (box.packages / "archive").write_text(f"{ARCHIVE}{hwe}: \nlinux-image-generic-hwe-24.04: \n")
    (box.packages / "installed").write_text("linux-image-generic-hwe-24.04")
    new = box.ensure()
    assert hwe in new
    assert FOLLOWS not in new


def test_a_newer_kernel_that_comes_along_is_not_ours_to_remove(box: Machine) -> None:
    newer = "linux-image-6.8.0-99-generic"
    (box.packages / "archive").write_text(
        ARCHIVE.replace(f"{FOLLOWS}: ", f"{FOLLOWS}: {newer}") + f"{newer}: \n"
    )
    assert newer in box.ensure()
    assert FOLLOWS in box.noted
    assert newer not in box.noted


def test_modules_of_another_version_than_the_libraries_are_built_here(box: Machine) -> None:
    box.programs.add("modinfo", "echo 580.65.06")
    assert {"nvidia-dkms-580-server-open", f"linux-headers-{KERNEL}"} <= set(box.ensure())


def test_modules_that_nobody_packaged_are_built_here(box: Machine) -> None:
    (box.packages / "archive").write_text(ARCHIVE.replace(f"{PREBUILT}: \n", ""))
    box.programs.add("modinfo", "exit 1")
    assert "nvidia-dkms-580-server-open" in box.ensure()


def test_a_kernel_for_which_nothing_can_be_had_is_named(box: Machine) -> None:
    (box.packages / "archive").write_text(USER_SPACE)
    with pytest.raises(SandboxError, match=KERNEL) as error:
        box.ensure()
    assert "reboot" in error.value.hint


def test_a_module_that_the_kernel_refuses_is_told_with_the_reason(box: Machine) -> None:
    box.programs.add("modprobe", "echo 'modprobe: ERROR: Key was rejected'; exit 1")
    with pytest.raises(SandboxError, match="Key was rejected"):
        box.ensure()


def test_nouveau_is_kept_out_and_gives_the_card_away(box: Machine) -> None:
    gpu_machine.write(box.root, "sys/module/nouveau/version", "1\n")
    gpu_machine.write(box.root, "sys/bus/pci/drivers/nouveau/0000:00:02.0/class", "")
    unbind = box.root / "sys/bus/pci/drivers/nouveau/unbind"
    unbind.write_text("")
    box.ensure()
    assert unbind.read_text() == "0000:00:02.0"
    assert box.programs.calls("modprobe")[0] == "modprobe --remove nouveau"
    assert "blacklist nouveau" in (box.root / driver.BLACKLIST).read_text()


@pytest.mark.parametrize("is_loaded", [False, True])
def test_upgrades_of_driver_and_kernel_are_left_to_people(box: Machine, is_loaded: bool) -> None:
    if is_loaded:
        gpu_machine.load_driver(box.root)
    box.ensure()
    text = (box.root / driver.HELD_BACK).read_text()
    assert '"^libnvidia-";' in text
    assert '"^linux-image-";' in text


def test_the_hold_can_be_taken_back_again_and_again(box: Machine) -> None:
    box.ensure()
    driver.remove_hold(box.root)
    driver.remove_hold(box.root)
    assert not (box.root / driver.HELD_BACK).exists()
    assert not (box.root / driver.BLACKLIST).exists()


def test_an_image_gets_the_packages_without_a_card(tmp_path: Path, box: Machine) -> None:
    box.root = gpu_machine.make(tmp_path / "plain")
    assert PREBUILT in box.ensure(wanted=True)
    assert box.programs.calls("modprobe") == []


def test_linodes_own_kernel_is_refused_with_the_way_out(tmp_path: Path, box: Machine) -> None:
    box.root = gpu_machine.make(tmp_path / "linode", kernel="6.9.3-x86_64-linode164")
    gpu_machine.add_card(box.root)
    with pytest.raises(SandboxError, match="linode164") as error:
        box.ensure()
    assert "GRUB 2" in error.value.hint


def test_a_system_without_such_a_driver_is_refused(tmp_path: Path) -> None:
    root = gpu_machine.make(tmp_path / "debian", gpu_machine.DEBIAN, "6.1.0-25-amd64")
    gpu_machine.add_card(root)
    problem = driver.check(root)
    assert problem
    assert "Debian GNU/Linux 12" in problem.message
    assert "Ubuntu 24.04" in problem.hint


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (x)",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025",
    ],
)
def test_the_version_is_also_read_where_the_module_does_not_say_it(
    tmp_path: Path, line: str
) -> None:
    gpu_machine.write(tmp_path, "proc/driver/nvidia/version", f"{line}\nGCC version: gcc 13.3.0\n")
    assert driver.loaded_version(tmp_path) == "580.95.05"
