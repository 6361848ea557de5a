"""What ``ai-sandbox plan`` does and prints: a table for people, JSON for programs."""

from __future__ import annotations

import json
import textwrap

from sandbox.errors import ExitCode, SandboxError
from sandbox.models.plan.chosen import failure, plan_for
from sandbox.models.plan.decide import Plan
from sandbox.models.plan.machine import Machine, from_gpus, from_plan
from sandbox.models.plan.words import billions, gib, gigabytes
from sandbox.models.source import resolve
from sandbox.settings import Settings

_WIDTH = 96


def run(
    settings: Settings,
    model_id: str | None,
    *,
    revision: str | None = None,
    gpu: str | None = None,
    linode_plan: str | None = None,
    as_json: bool = False,
) -> ExitCode:
    """Print the plan for ``model_id`` (else for the setting's); success when it fits."""
    machine: Machine | None = None
    if gpu:
        machine = from_gpus(gpu)
    elif linode_plan:
        machine = from_plan(linode_plan)
    name = model_id or settings.model_id
    # A revision of the setting belongs to the setting's model.
    chosen = revision or (settings.model_revision if name == settings.model_id else None)
    try:
        plan = plan_for(resolve(name, chosen), settings, machine)
    except SandboxError as error:
        if not as_json:
            raise
        print(json.dumps(failure(error, name), indent=2))
        return ExitCode.FAILURE
    print(json.dumps(plan.as_json(), indent=2) if as_json else table(plan))
    return ExitCode.OK if plan.way else ExitCode.FAILURE


def table(plan: Plan) -> str:
    """The plan as lines of a name and a value."""
    facts = plan.as_json()
    shape, way = plan.candidate.shape, plan.way
    memory = "" if plan.machine.host_bytes is None else gib(plan.machine.host_bytes)
    weights = f"{gib(facts['weight_bytes'])} as {shape.quantization or shape.dtype}"
    gpus = f"{plan.machine.gpus} x {gib(plan.machine.gpu_bytes)}" if plan.machine.gpus else ""
    rows = [
        ("model", facts["model"]),
        ("architecture", shape.architecture),
        ("parameters", billions(facts["parameters"])),
        ("weights", weights),
        ("KV cache", f"{facts['kv_bytes_per_token'] / 1024:,.1f} KiB a token"),
        ("machine", plan.machine.name),
        ("GPU memory", gpus),
        ("memory", memory),
        ("download", _download(plan)),
        ("fits", "yes" if way else "no"),
    ]
    if way:
        rows += [
            ("tensor parallel size", str(way.tensor_parallel)),
            ("context length", f"{plan.context_length:,} of {shape.context:,} tokens"),
            ("quantization", plan.quantization or "none"),
            ("requests at once", f"{way.concurrency:g} of full length"),
        ]
    lines = [f"{name:<21} {value}" for name, value in rows if value]
    for text in (*plan.reasons, *plan.advice):
        lines += textwrap.wrap(text, _WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def _download(plan: Plan) -> str:
    size = plan.candidate.download_bytes
    if not size:
        return ""
    minutes = max(1, round(plan.as_json()["download_seconds"] / 60))
    free = plan.machine.disk_bytes
    room = "" if free is None else f"; {gigabytes(free)} free on the disk"
    return f"{gigabytes(size)}, about {minutes} min at 60 MB/s{room}"
