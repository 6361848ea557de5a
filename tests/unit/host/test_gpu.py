"""A machine without a GPU has no GPU numbers, and no library is needed to say so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox.host.gpu import GpuMeter


def test_without_a_gpu_nothing_is_read(tmp_path: Path) -> None:
    assert GpuMeter(tmp_path).read() is None


def test_with_a_gpu_but_no_library_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuMeter(tmp_path).read() is None
    assert "nvidia-ml-py is not installed" in caplog.text
