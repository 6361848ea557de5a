"""What a person reads when vLLM could not load a model."""

from __future__ import annotations

import pytest

from sandbox.engine.causes import not_loaded


@pytest.mark.parametrize(
    ("cause", "message", "hint"),
    [
        (
            "Failed to infer device type, please set the environment variable "
            "`VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue.",
            "finds no GPU",
            "nvidia-smi",
        ),
        (
            "Free memory on device cuda:0 (16.92/79.18 GiB) on startup is less than desired GPU "
            "memory utilization (0.92, 72.84 GiB). Decrease GPU memory utilization or reduce GPU "
            "memory used by other processes.",
            "16.9 of 79.2 GiB are free",
            "GPU_MEMORY_UTILIZATION=0.21",
        ),
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", "not enough", "ai-sandbox plan"),
        ("Something else happened.", "Something else happened.", "The log has the whole story"),
    ],
)
def test_a_cause_is_told_with_what_to_do(cause: str, message: str, hint: str) -> None:
    told = not_loaded("owner/name", cause)
    assert told[0].startswith("owner/name could not be loaded: ")
    assert message in told[0]
    assert hint in told[1]
