"""Machines by their GPUs, by Linode's names, and this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.models.plan import facts
from sandbox.models.plan.machine import GIB, from_gpus, from_plan, this_machine


@pytest.mark.parametrize(
    ("text", "count", "gib"),
    [
        ("20GB x2", 2, 20),
        ("20GB", 1, 20),
        ("20", 1, 20),
        ("2x20GB", 2, 20),
        ("4 x 20 GB", 4, 20),
        ("95.5GiBX2", 2, 95.5),
    ],
)
def test_gpus_are_read_as_people_write_them(text: str, count: int, gib: float) -> None:
    machine = from_gpus(text)
    assert (machine.gpus, machine.gpu_bytes) == (count, gib * GIB)


@pytest.mark.parametrize("text", ["", "x2", "0GB", "20GB x0", "20MB", "20GB,20GB", "-20GB"])
def test_what_is_no_gpu_is_refused(text: str) -> None:
    with pytest.raises(SandboxError) as caught:
        from_gpus(text)
    assert repr(text) in caught.value.message


def test_a_linode_plan_is_found_by_its_name() -> None:
    machine = from_plan("g2-gpu-rtx4000a2-s")
    assert (machine.gpus, machine.gpu_bytes) == (2, 20 * GIB)


def test_an_unknown_plan_gets_the_closest_names() -> None:
    with pytest.raises(SandboxError) as caught:
        from_plan("g2-gpu-rtx4000-a2-s")
    assert "g2-gpu-rtx4000a2-s" in caught.value.hint


def test_the_plans_are_listed_by_price() -> None:
    prices = [plan["hourly"] for plan in facts.linode_plans().values()]
    assert prices == sorted(prices)


def test_this_machine_has_memory_and_a_disk(tmp_path: Path) -> None:
    machine = this_machine(tmp_path / "not/there/yet")
    assert machine.host_bytes
    assert machine.disk_bytes
