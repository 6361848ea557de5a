"""What the NVIDIA GPUs of this machine are doing, asked of the driver through nvidia-ml-py."""

from __future__ import annotations

import contextlib
import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from sandbox.host import hardware

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuUse:
    """All GPUs together: bytes summed, utilization averaged, the hottest one's temperature."""

    count: int
    memory_bytes: int
    memory_total_bytes: int
    # 0 to 100; None where the driver does not tell, with MIG for example.
    utilization_percent: float | None
    temperature_celsius: float | None


class GpuMeter:
    """Reads the GPUs; ``read`` blocks for some milliseconds and belongs in a thread."""

    def __init__(self, root: Path = Path("/")) -> None:
        # nvidia-ml-py is there only where vLLM's GPU build is.
        self._nvml: ModuleType | None = _open() if hardware.has_nvidia_gpu(root) else None

    def read(self) -> GpuUse | None:
        """The numbers of now; None without a GPU, its driver or the library."""
        nvml = self._nvml
        if nvml is None:
            return None
        try:
            gpus = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            memory = [nvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in gpus]
        except nvml.NVMLError as error:
            log.warning("The GPU's numbers are not shown any more: %s", error)
            self._nvml = None
            return None
        busy: list[float] = []
        warm: list[float] = []
        for gpu in gpus:
            with contextlib.suppress(nvml.NVMLError):
                busy.append(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
            with contextlib.suppress(nvml.NVMLError):
                warm.append(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
        return GpuUse(
            len(gpus),
            sum(m.used for m in memory),
            sum(m.total for m in memory),
            round(sum(busy) / len(busy), 1) if busy else None,
            max(warm) if warm else None,
        )


def _open() -> ModuleType | None:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        log.warning("The GPU's numbers are not shown: nvidia-ml-py is not installed.")
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.warning("The GPU's numbers are not shown: %s", error)
        return None
    return nvml
