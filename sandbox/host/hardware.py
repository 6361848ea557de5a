"""What GPUs this machine has, found without importing torch.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it too.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple


class Gpu(NamedTuple):
    """One GPU, as its driver describes it."""

    name: str
    # All of its memory, in bytes.
    memory_bytes: int
    # CUDA compute capability, for example (8, 9).
    capability: tuple[int, int]


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


def has_16_bit_floats(root: Path = Path("/")) -> bool:
    """False for a processor on which bfloat16 is emulated number by number.

    PyTorch computes it with AVX-512 on x86 (natively or widened in registers). With AVX2 alone a
    layer took 5 to 11 times as long as in float32 (PyTorch 2.13, 64 and 256 rows).
    """
    flags = re.findall(r"^flags\s*:(.*)$", (root / "proc/cpuinfo").read_text(), re.MULTILINE)
    # Another architecture calls them otherwise, and has 16 bit floats.
    return not flags or "avx512f" in flags[0].split()


def nvidia_gpus(root: Path = Path("/")) -> list[Gpu]:
    """The GPUs that vLLM would use, without CUDA: through NVML, else by nvidia-smi."""
    if not has_nvidia_gpu(root):
        return []
    try:
        import pynvml
    except ImportError:
        return _ask_nvidia_smi()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = []
        for number in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(number)
            name = pynvml.nvmlDeviceGetName(gpu)
            total = pynvml.nvmlDeviceGetMemoryInfo(gpu).total
            capability = pynvml.nvmlDeviceGetCudaComputeCapability(gpu)
            found.append(Gpu(str(name), int(total), (int(capability[0]), int(capability[1]))))
        return found
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _ask_nvidia_smi() -> list[Gpu]:
    query = "--query-gpu=name,memory.total,compute_cap"
    try:
        answer = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_nvidia_smi(answer)


def parse_nvidia_smi(text: str) -> list[Gpu]:
    """Lines such as ``NVIDIA RTX 4000 Ada Generation, 20475, 8.9`` (memory in MiB)."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 2)]
        try:
            major, minor = parts[2].split(".")
            found.append(Gpu(parts[0], int(parts[1]) * 2**20, (int(major), int(minor))))
        except (IndexError, ValueError):
            continue
    return found
