"""What speaks against an installation here: looked for before anything is changed, all at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.errors import ConfigError
from sandbox.host import ports
from sandbox.install import driver, folders, machine
from sandbox.install.machine import Problem
from sandbox.paths import PACKAGE, Box, Paths
from sandbox.settings import Settings, load

GB = 10**9
# What an environment takes on disk, compiled: `du -sl` on Debian 12, and a tenth more.
ENVIRONMENTS = {"api": 2.8 * GB, "api for GPUs": 9.7 * GB, "ui": 2.9 * GB}
# For packages of the distribution, logs, and what is compiled at run time.
SPARE = 1 * GB
# A plan sold as 4 GB shows less. The API with the guide model has 2.2 GB, the chat page 0.8 GB.
LEAST_MEMORY = int(3.5 * 2**30)
OURS = re.compile(r"/ai-sandbox-(?:api|ui|progress-\d+)\.service")
UNIT = re.compile(r"/([^/\n]+\.service)\b")


def check(
    box: Box,
    fields: Mapping[str, str],
    *,
    has_gpu: bool,
    bake: bool = False,
    model_bytes: Callable[[], int | None] = lambda: None,
    release: Path = PACKAGE.parent,
) -> list[Problem]:
    """All problems of this machine; an empty list means that the installation may begin.

    ``fields`` will be written to the env file; ``bake`` looks only at what an image needs.
    ``model_bytes`` tells how much of the model is still to be fetched, None when unknown.
    """
    problems = machine.problems(box.root)
    paths = Paths.installed(box.root)
    settings = None
    try:
        settings = load(paths).settings
    except ConfigError as error:
        problems.append(Problem(error.message, error.hint))
    models_dir = settings.models_dir if settings else paths.models_dir
    if settings:
        problems += folders.check(settings, box)
    model = 0 if bake else model_bytes() or 0
    name = fields.get("MODEL_ID") or (settings.model_id if settings else "")
    problems += check_disk(box, models_dir, needs(release, has_gpu), model, name)
    if bake:
        return problems
    problems += check_memory(box.root)
    found = driver.check(box.root)
    if found:
        problems.append(found)
    if settings:
        problems += check_ports(settings, box.root)
    return problems


def needs(release: Path, has_gpu: bool) -> dict[str, float]:
    """Bytes that the environments which are not there yet will take, by what people call them."""
    api = ENVIRONMENTS["api for GPUs" if has_gpu else "api"]
    wanted = {"api": ("the API", api), "ui": ("the chat page", ENVIRONMENTS["ui"])}
    return {text: size for folder, (text, size) in wanted.items() if not _is_there(release, folder)}


def check_disk(
    box: Box, models_dir: Path, environments: Mapping[str, float], model: int, name: str
) -> list[Problem]:
    """Whether the disks hold what is to come; ``model`` in bytes, 0 when unknown."""
    parts: dict[Path, dict[str, float]] = {}
    for place, what in ((box.home, dict(environments)), (models_dir, {f"the model {name}": model})):
        parts.setdefault(_disk(place), {}).update({k: v for k, v in what.items() if v})
    problems = []
    for disk, wanted in parts.items():
        free = _free(disk)
        total = sum(wanted.values()) + SPARE
        if wanted and free < total:
            listed = ", ".join(f"{size / GB:.1f} GB for {what}" for what, size in wanted.items())
            problems.append(
                Problem(
                    f"The disk of {disk} has {free / GB:.1f} GB free; {total / GB:.1f} GB are "
                    f"needed: {listed}, {SPARE / GB:.0f} GB to spare.",
                    "Free some space, take a bigger plan, or choose a smaller model.",
                )
            )
    return problems


def check_memory(root: Path) -> list[Problem]:
    """Whether both services fit into this machine's memory."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
    total = int(match.group(1)) * 1024 if match else LEAST_MEMORY
    if total >= LEAST_MEMORY:
        return []
    return [
        Problem(
            f"This machine has {total / 2**30:.1f} GiB of memory; the API and the chat page need "
            "4 GiB at least.",
            "Take a bigger plan.",
        )
    ]


def check_ports(settings: Settings, root: Path) -> list[Problem]:
    """Whether the two ports are free, or held by an AI Sandbox that this installation replaces."""
    problems = []
    for name, port in (("API_PORT", settings.api_port), ("UI_PORT", settings.ui_port)):
        holder = ports.find_holder(port, root / "proc")
        if holder is None:
            continue
        group = _read(root / f"proc/{holder.pid}/cgroup")
        if OURS.search(group):
            continue
        unit = UNIT.search(group)
        if holder.name == "docker-proxy":
            stop = f"Find its container with docker ps --filter publish={port} and stop it"
        elif unit:
            stop = f"Stop it with sudo systemctl disable --now {unit.group(1)}"
        else:
            stop = f"Stop it with sudo kill {holder.pid}"
        problems.append(
            Problem(
                f"Port {port} is in use by PID {holder.pid} ({holder.name}), which is no part of "
                "AI Sandbox.",
                f"{stop}, or set {name} to another port in {Paths.installed(root).env_file}.",
            )
        )
    return problems


def _is_there(release: Path, folder: str) -> bool:
    return any((release / folder).glob("ai-sandbox-stamp"))


def _disk(place: Path) -> Path:
    """The folder that exists and lies highest on the disk that ``place`` will be on."""
    while not place.exists():
        place = place.parent
    device = place.stat().st_dev
    while place.parent != place and place.parent.stat().st_dev == device:
        place = place.parent
    return place


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
