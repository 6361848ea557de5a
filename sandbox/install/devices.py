"""The GPUs' device files, made as root before the API starts: its user may not make them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from sandbox.errors import ExitCode, SandboxError
from sandbox.host import hardware

CONTROL_MINOR = 255
MODULES = ("nvidia", "nvidia_uvm")


def run() -> int:
    """The verb `devices`, which ai-sandbox-devices.service runs; the exit code."""
    changed = ensure_devices()
    print("The GPUs' device files were made." if changed else "Nothing to do.")
    return ExitCode.OK


def ensure_devices(root: Path = Path("/")) -> bool:
    """Load the driver and make what is missing of its device files; True if one was made.

    Does nothing without a card. Raises ``SandboxError`` when the driver cannot be loaded.
    """
    if not (hardware.has_nvidia_card(root) or hardware.has_nvidia_gpu(root)):
        return False
    for module in MODULES:
        _load(module, root)
    wanted = _wanted(root)
    missing = [name for name in wanted if not _is_device(root / "dev" / name)]
    if missing and shutil.which("nvidia-modprobe"):
        for options in (["-u", "-c=0"], *(["-c", str(n)] for n in range(_cards(root)))):
            subprocess.run(["nvidia-modprobe", *options], stdin=subprocess.DEVNULL)
        missing_now = [name for name in missing if not _is_device(root / "dev" / name)]
    else:
        missing_now = missing
    for name in missing_now:
        _make(root / "dev" / name, *wanted[name])
    return bool(missing)


def _load(module: str, root: Path) -> None:
    if (root / "sys/module" / module).exists():
        return
    done = subprocess.run(
        ["modprobe", module], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise SandboxError(
            f"The kernel module {module} cannot be loaded: {done.stderr.strip()}",
            "Run: sudo ai-sandbox install, which brings the driver for the running kernel.",
        )


def _wanted(root: Path) -> dict[str, tuple[int, int]]:
    """The device files of this machine's cards: name to major and minor number."""
    majors = _majors(root)
    wanted = {}
    # "nvidia-frontend" until the open modules came.
    control = majors.get("nvidia", majors.get("nvidia-frontend"))
    if control is not None:
        wanted["nvidiactl"] = (control, CONTROL_MINOR)
        wanted |= {f"nvidia{number}": (control, number) for number in range(_cards(root))}
    memory = majors.get("nvidia-uvm")
    if memory is not None:
        wanted["nvidia-uvm"] = (memory, 0)
        wanted["nvidia-uvm-tools"] = (memory, 1)
    return wanted


def _majors(root: Path) -> dict[str, int]:
    with contextlib.suppress(OSError):
        text = (root / "proc/devices").read_text().partition("Block devices:")[0]
        return {name: int(n) for n, name in re.findall(r"^\s*(\d+) (nvidia\S*)$", text, re.M)}
    return {}


def _cards(root: Path) -> int:
    with contextlib.suppress(OSError):
        return len(list((root / "proc/driver/nvidia/gpus").iterdir()))
    return 0


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


def _make(path: Path, major: int, minor: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
    # Not as the umask has it: the API's user opens them.
    path.chmod(0o666)
