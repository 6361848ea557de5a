"""What a machine has: this one, one by its GPUs ("20GB x2"), or one by its Linode plan's name."""

from __future__ import annotations

import difflib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import ExitCode, SandboxError
from sandbox.host import hardware
from sandbox.models.plan import facts
from sandbox.models.plan.errors import UnplannableError

GIB = 2**30
# Ada, Hopper and Blackwell compute in 8 bit floats.
FP8_CAPABILITY = (8, 9)


@dataclass(frozen=True)
class Machine:
    """GPUs of one kind, and the rest that matters. Sizes in bytes."""

    name: str
    gpus: int
    # Of each GPU; 0 without any.
    gpu_bytes: int
    # CUDA compute capability; None where not known.
    capability: tuple[int, int] | None
    # Memory of the machine itself that programs can still take; None where not known.
    host_bytes: int | None
    # Free where models are kept; None where not known.
    disk_bytes: int | None
    # Whether its processor computes with 16 bit floats: only asked without a GPU.
    has_16_bit_floats: bool = True

    @property
    def has_fp8(self) -> bool:
        """True unless the GPUs are known to be too old for 8 bit floats."""
        return bool(self.gpus) and (self.capability is None or self.capability >= FP8_CAPABILITY)


def this_machine(models_dir: Path, held_bytes: int = 0) -> Machine:
    """What is here. Of several GPUs the smallest counts, for each takes an equal part.

    ``held_bytes`` of memory count as free: who asks gives them back before they are needed.

    Raises ``UnplannableError`` when there is a GPU of unknown size.
    """
    gpus = hardware.nvidia_gpus()
    if hardware.has_nvidia_gpu() and not gpus:
        raise UnplannableError(
            "The NVIDIA driver does not say how much memory the GPUs have.",
            "See what nvidia-smi prints; a reboot helps after an update of the driver.",
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # vLLM sees only these.
        chosen = [name for name in visible.split(",") if name.strip()]
        gpus = [gpus[int(n)] for n in chosen if n.strip().isdigit() and int(n) < len(gpus)] or (
            gpus[: len(chosen)]
        )
    smallest = min(gpus, key=lambda gpu: gpu.memory_bytes, default=None)
    names = f"{len(gpus)} x {smallest.name}" if smallest else "no GPU"
    return Machine(
        f"this machine ({names})",
        len(gpus),
        smallest.memory_bytes if smallest else 0,
        smallest.capability if smallest else None,
        hardware.available_memory() + held_bytes,
        _free_bytes(models_dir),
        hardware.has_16_bit_floats(),
    )


def from_gpus(text: str) -> Machine:
    """``20GB``, ``20GB x2``, ``2x20 GB``. Raises ``SandboxError`` for anything else."""
    match = re.fullmatch(
        r"\s*(?:(?P<first>\d+)\s*[xX*]\s*)?(?P<size>\d+(?:\.\d+)?)\s*(?:GB|GiB|G)?"
        r"\s*(?:[xX*]\s*(?P<last>\d+))?\s*",
        text,
        re.IGNORECASE,
    )
    count = int(match["first"] or 1) * int(match["last"] or 1) if match else 0
    size = float(match["size"]) if match else 0.0
    if not 1 <= count <= 1024 or not 1 <= size <= 4096:
        raise SandboxError(
            f"--gpu is {text!r}, which is no size of GPU memory.",
            'Write the memory of one GPU and how many there are, for example --gpu "20GB x2".',
            ExitCode.USAGE,
        )
    name = f"{size:g} GB GPU" if count == 1 else f"{count} GPUs of {size:g} GB"
    return Machine(name, count, int(size * GIB), None, None, None)


def from_plan(name: str) -> Machine:
    """A Linode plan. Raises ``SandboxError`` with the closest names for an unknown one."""
    plans = facts.linode_plans()
    if name not in plans:
        close = difflib.get_close_matches(name, plans, n=3, cutoff=0.5)
        raise SandboxError(
            f"There is no Linode GPU plan {name!r} in the table.",
            f"Did you mean {' or '.join(close)}?" if close else f"It has: {', '.join(plans)}.",
            ExitCode.USAGE,
        )
    return linode(name)


def linode(name: str) -> Machine:
    """The machine of the Linode plan ``name``, which must be in the table."""
    plan = facts.linode_plans()[name]
    return Machine(
        name,
        plan["gpus"],
        int(plan["gpu_gb"] * GIB),
        tuple(plan["capability"]),
        int(plan["ram_gb"] * GIB),
        None,
    )


def _free_bytes(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None
