"""The files of /proc, /sys and /etc by which a machine shows its system and its GPU."""

from __future__ import annotations

from pathlib import Path

KERNEL = "6.8.0-45-generic"
UBUNTU = 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n'
DEBIAN = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
MEMORY = "MemTotal:       16384000 kB\nMemAvailable:   15000000 kB\n"
DEVICES = (
    "Character devices:\n  1 mem\n195 nvidia\n505 nvidia-uvm\n506 nvidia-caps\n\nBlock devices:\n"
)


def write(root: Path, name: str, text: str) -> None:
    """Make the file ``name`` below ``root``."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def make(root: Path, system: str = UBUNTU, kernel: str = KERNEL) -> Path:
    """A machine without a GPU at ``root``."""
    write(root, "etc/os-release", system)
    write(root, "proc/sys/kernel/osrelease", f"{kernel}\n")
    write(root, "proc/meminfo", MEMORY)
    write(root, "usr/lib/systemd/libsystemd-shared-255.so", "")
    (root / "run/systemd/system").mkdir(parents=True)
    return root


def add_card(root: Path) -> None:
    """Put an NVIDIA card on the bus."""
    write(root, "sys/bus/pci/devices/0000:00:02.0/vendor", "0x10de\n")
    write(root, "sys/bus/pci/devices/0000:00:02.0/class", "0x030200\n")


def load_driver(root: Path, version: str = "580.95.05", cards: int = 1) -> None:
    """What is there once NVIDIA's driver is loaded."""
    add_card(root)
    write(root, "sys/module/nvidia/version", f"{version}\n")
    (root / "sys/module/nvidia_uvm").mkdir(parents=True)
    write(root, "proc/devices", DEVICES)
    for number in range(cards):
        write(root, f"proc/driver/nvidia/gpus/0000:0{number}:00.0/information", "Model: A\n")
