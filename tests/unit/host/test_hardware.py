"""What is read of the machine's GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.host.hardware import Gpu, has_16_bit_floats, nvidia_gpus, parse_nvidia_smi


def test_a_machine_without_a_driver_has_no_gpus(tmp_path: Path) -> None:
    assert nvidia_gpus(tmp_path) == []


def test_the_answer_of_nvidia_smi_is_read() -> None:
    text = "NVIDIA RTX 4000 Ada Generation, 20475, 8.9\nnonsense\nX, [N/A], 8.9\n"
    assert parse_nvidia_smi(text) == [Gpu("NVIDIA RTX 4000 Ada Generation", 20475 * 2**20, (8, 9))]


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu sse2 avx avx2 f16c fma\n", False),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
    ],
)
def test_a_processor_without_avx_512_has_no_16_bit_floats(
    tmp_path: Path, cpuinfo: str, expected: bool
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert has_16_bit_floats(tmp_path) is expected
