"""Why a model could not be loaded: vLLM's words, in ours where those say what to do."""

from __future__ import annotations

import math
import re

# Of vLLM 0.32 (config/device.py and v1/worker/utils.py) and of PyTorch.
_NO_DEVICE = "Failed to infer device type"
_TAKEN = re.compile(r"Free memory on device \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less than")
_OUT_OF_MEMORY = "CUDA out of memory"
_DEFAULT = (
    "The log has the whole story; another model, a shorter MAX_MODEL_LEN or other VLLM_EXTRA_ARGS "
    "may help."
)


def not_loaded(name: str, cause: str) -> tuple[str, str]:
    """What happened to the model ``name``, and what to do, when vLLM gave ``cause``."""
    found, hint = _explain(cause)
    return f"{name} could not be loaded: {found}", hint


def _explain(cause: str) -> tuple[str, str]:
    if _NO_DEVICE in cause:
        return (
            "vLLM finds no GPU, and the installed one is for GPUs.",
            "See whether nvidia-smi lists the card: after an update of the driver or the kernel a "
            "reboot helps. On a machine that has no GPU any more, install again.",
        )
    if taken := _TAKEN.search(cause):
        free, whole = float(taken[1]), float(taken[2])
        share = math.floor(100 * free / whole) / 100
        return (
            f"other programs hold memory of the GPU, of which {free:.1f} of {whole:.1f} GiB are "
            "free.",
            "End them (nvidia-smi lists them), or leave them what they have: "
            f"GPU_MEMORY_UTILIZATION={share:.2f} or less.",
        )
    if _OUT_OF_MEMORY in cause:
        return (
            "the GPU's memory was not enough.",
            "Choose a smaller or a quantized model, a shorter MAX_MODEL_LEN, or a "
            "GPU_MEMORY_UTILIZATION of 0.85; `ai-sandbox plan` says what fits.",
        )
    return cause, _DEFAULT
