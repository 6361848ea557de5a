"""What GPUs this machine has, found without importing torch.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it too.
"""

from __future__ import annotations

from pathlib import Path


def has_nvidia_gpu(root: Path = Path("/")) -> bool:
    """True when an NVIDIA GPU is here and its driver is loaded, so that vLLM can use it."""
    gpus = root / "proc/driver/nvidia/gpus"
    return gpus.is_dir() and any(gpus.iterdir())


def has_nvidia_card(root: Path = Path("/")) -> bool:
    """True when a display or 3D controller of NVIDIA's is on the PCI bus, driver or not."""
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            return True
    return False


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that programs can still take, as the kernel estimates it."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
