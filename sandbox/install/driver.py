"""The GPU's driver: left alone when new enough, brought without a reboot when missing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.host import hardware
from sandbox.install import apt, machine
from sandbox.install.commands import CommandFailed, Commands

# CUDA 13, which torch and vLLM are built for, needs this one or a newer one.
OLDEST = 580
BRANCH = f"{OLDEST}-server"
# The distribution's prebuilt and signed modules; the open ones are the only ones for Blackwell.
MODULES = f"linux-modules-nvidia-{BRANCH}-open"
# For computing only: nothing of X11. libnvidia-compute brings the firmware and its kernel part.
USER_SPACE = (f"libnvidia-compute-{BRANCH}", f"nvidia-utils-{BRANCH}")
BUILT_HERE = f"nvidia-dkms-{BRANCH}-open"
# Newer kernels that come along with the modules stay at an uninstall: one of them may run by then.
KERNELS = re.compile(r"linux-(?:image|headers|modules|modules-extra)-\d")
BLACKLIST = Path("etc/modprobe.d/ai-sandbox-nouveau.conf")
HELD_BACK = Path("etc/apt/apt.conf.d/52ai-sandbox-nvidia")
KEEP_NOUVEAU_OUT = """\
# Written by AI Sandbox: nouveau takes the GPUs before NVIDIA's driver can.
blacklist nouveau
options nouveau modeset=0
"""
HOLD_BACK = """\
// Written by AI Sandbox. An upgrade of the driver's libraries under a loaded kernel module ends
// every GPU program ("Driver/library version mismatch") until the next reboot, and a new kernel
// without NVIDIA's modules has no GPU after it. So both are upgraded by people, who reboot then:
//   sudo apt-get update && sudo apt-get upgrade --with-new-pkgs && sudo reboot
Unattended-Upgrade::Package-Blacklist {
    "^nvidia-";
    "^libnvidia-";
    "^libcuda1";
    "^cuda-drivers";
    "^firmware-nvidia-";
    "^linux-image-";
    "^linux-headers-";
    "^linux-modules-";
    "^linux-(generic|virtual|lowlatency)";
};
"""

Say = Callable[[str], None]


def loaded_version(root: Path = Path("/")) -> str | None:
    """The version of the driver that the kernel has loaded, such as "580.95.05"; None without."""
    with contextlib.suppress(OSError):
        return (root / "sys/module/nvidia/version").read_text().strip()
    with contextlib.suppress(OSError):
        text = (root / "proc/driver/nvidia/version").read_text()
        match = re.search(r"NVRM version:.*?\s(\d+\.\d[\d.]*)\s", text)
        return match.group(1) if match else None
    return None


def check(root: Path = Path("/")) -> machine.Problem | None:
    """Why this machine's GPU could not be used after an installation; changes nothing."""
    if not (hardware.has_nvidia_card(root) or hardware.has_nvidia_gpu(root)):
        return None
    version = loaded_version(root)
    if version:
        return _check_version(version)
    return _check_installable(root)


def ensure_driver(
    commands: Commands,
    say: Say,
    note: apt.Note = lambda names: None,
    wanted: bool = False,
    root: Path = Path("/"),
) -> list[str]:
    """Bring the driver when a card is here and none is loaded; the names of the new packages.

    Whoever brought it, upgrades of it are left to people from now on. ``wanted`` brings the
    packages without a card too, for an image; ``note`` as for ``apt.ensure_packages``. Raises
    ``SandboxError``.
    """
    has_card = hardware.has_nvidia_card(root)
    if loaded_version(root) or not (has_card or wanted):
        # One that is too old was refused by ``check``; one that somebody chose stays.
        _raise_for(check(root))
        if loaded_version(root):
            _ensure_file(root / HELD_BACK, HOLD_BACK)
        return []
    _raise_for(_check_installable(root))
    _ensure_file(root / BLACKLIST, KEEP_NOUVEAU_OUT)
    _ensure_file(root / HELD_BACK, HOLD_BACK)
    new = _install(
        commands, say, lambda names: note([n for n in names if not KERNELS.match(n)]), root
    )
    if has_card:
        release_from_nouveau(commands, say, root)
        say("loading the driver")
        _load(commands, root)
    return new


def remove_hold(root: Path = Path("/")) -> None:
    """Take back what ``ensure_driver`` wrote beside the packages: upgrades and nouveau go on."""
    (root / BLACKLIST).unlink(missing_ok=True)
    (root / HELD_BACK).unlink(missing_ok=True)


def release_from_nouveau(commands: Commands, say: Say, root: Path = Path("/")) -> None:
    """Take the cards away from nouveau when it has them, and unload it."""
    if not (root / "sys/module/nouveau").exists():
        return
    say("taking the GPU from nouveau")
    driver = root / "sys/bus/pci/drivers/nouveau"
    for device in driver.glob("*:*:*.*"):
        (driver / "unbind").write_text(device.name)
    # One that stays loaded has no card any more, which is enough.
    with contextlib.suppress(CommandFailed):
        commands.run(["modprobe", "--remove", "nouveau"])


def _install(commands: Commands, say: Say, note: apt.Note, root: Path) -> list[str]:
    kernel = _kernel(root)
    flavour = _flavour_package(kernel, commands)
    prebuilt = f"{MODULES}-{kernel}"
    new: list[str] = []
    try:
        names = [prebuilt, *USER_SPACE]
        new += apt.ensure_packages(names, commands, say, note)
    except SandboxError as error:
        if not apt.has_candidate(BUILT_HERE, commands):
            raise SandboxError(
                f"There are no NVIDIA modules for the kernel {kernel}.\n{error.message}",
                "Bring the newest kernel with sudo apt-get upgrade --with-new-pkgs, reboot, "
                "and run this again.",
            ) from None
    if not _fits(kernel, commands):
        # Modules of an older kernel stay at the driver version of their day, and the libraries
        # move on. Built here they are of one version; that needs no reboot.
        say(f"building the modules for the kernel {kernel}")
        names = [f"linux-headers-{kernel}", BUILT_HERE, *USER_SPACE]
        return new + apt.ensure_packages(names, commands, say, note)
    if flavour and apt.has_candidate(flavour, commands):
        # Brings the modules of each later kernel together with that kernel.
        new += apt.ensure_packages([flavour], commands, say, note)
    return new


def _fits(kernel: str, commands: Commands) -> bool:
    """True when the modules on disk and the libraries are of the same version."""
    try:
        module = commands.run(["modinfo", "-k", kernel, "-F", "version", "nvidia"]).strip()
        query = ["dpkg-query", "-W", "-f=${Version}", USER_SPACE[0]]
        return commands.run(query).startswith(f"{module}-")
    except CommandFailed:
        return False


def _flavour_package(kernel: str, commands: Commands) -> str:
    """The package of modules that follows this machine's kernels; "" when none follows them.

    Such as ``...-generic`` beside linux-image-generic, ``...-generic-hwe-22.04`` beside
    linux-image-generic-hwe-22.04; linux-image-virtual has the kernels of generic.
    """
    flavour = kernel.rpartition("-")[2]
    for name in sorted(apt.installed(commands), reverse=True):
        match = re.fullmatch(
            rf"linux-image-(?:{re.escape(flavour)}|virtual)(-hwe-\d\d\.\d\d)?", name
        )
        if match:
            return f"{MODULES}-{flavour}{match.group(1) or ''}"
    return ""


def _load(commands: Commands, root: Path) -> None:
    try:
        for module in ("nvidia", "nvidia_uvm"):
            commands.run(["modprobe", module])
    except CommandFailed as error:
        raise SandboxError(
            f"The driver was installed, but the kernel does not load it: {error.reason}",
            "Reboot and run this again; dmesg | grep -i nvidia says more.",
        ) from None
    version = loaded_version(root)
    if version:
        _raise_for(_check_version(version))


def _check_version(version: str) -> machine.Problem | None:
    major = version.split(".")[0]
    if major.isdigit() and int(major) >= OLDEST:
        return None
    return machine.Problem(
        f"The loaded NVIDIA driver is version {version}; CUDA 13, which vLLM is built for, "
        f"needs {OLDEST} or newer.",
        f"Install a newer driver the way this one was installed, reboot, and run this again. "
        f"On Ubuntu: sudo apt-get install nvidia-driver-{BRANCH}-open",
    )


def _check_installable(root: Path) -> machine.Problem | None:
    system = machine.distribution(root)
    kernel = _kernel(root)
    if "linode" in kernel:
        return machine.Problem(
            f"This machine runs Linode's own kernel ({kernel}), for which there is no NVIDIA "
            "driver.",
            "In the Cloud Manager open Configurations, edit it, choose GRUB 2 as the kernel, "
            "reboot, and run this again.",
        )
    if system.name == "ubuntu" and system.is_known:
        return None
    return machine.Problem(
        f"An NVIDIA GPU is here without its driver, and {system.title} has no packages of "
        f"version {OLDEST} or newer.",
        "Use an image of Ubuntu 24.04, which needs nothing more; or install the driver "
        "yourself, then run this again: "
        "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/",
    )


def _kernel(root: Path) -> str:
    """What `uname -r` prints."""
    return (root / "proc/sys/kernel/osrelease").read_text().strip()


def _ensure_file(file: Path, text: str) -> None:
    if not (file.is_file() and file.read_text() == text):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _raise_for(problem: machine.Problem | None) -> None:
    if problem:
        raise SandboxError(problem.message, problem.hint)
