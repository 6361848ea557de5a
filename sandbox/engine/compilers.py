"""The environment variables by which what compiles at run time finds its compiler and its cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def variables(
    cache: Path, environ: Mapping[str, str] = os.environ, prefix: Path = Path(sys.prefix)
) -> dict[str, str]:
    """What to set beside ``environ`` for vLLM in the environment at ``prefix``.

    ``cache`` is the folder for all that is compiled. What a person has set is not in the result,
    but for PATH, which the result extends.
    """
    wanted = {
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "FLASHINFER_WORKSPACE_BASE": str(cache / "flashinfer"),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        # nvcc needs a minute and a half for FlashInfer's sampler (two cores), at the first start
        # of each new version; vLLM's own Triton kernel does the same work.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
    }
    if not os.access(environ.get("HOME", "/nonexistent"), os.W_OK):
        # A person's own is left in use: `hf auth login` keeps its token there.
        wanted["XDG_CACHE_HOME"] = str(cache / "xdg")
    folders = [str(prefix / "bin")]
    cuda = _cuda(prefix)
    if cuda and not (environ.get("CUDA_HOME") or environ.get("CUDA_PATH")):
        wanted["CUDA_HOME"] = str(cuda)
        folders.append(str(cuda / "bin"))
    found = {name: value for name, value in wanted.items() if name not in environ}
    path = environ.get("PATH", os.defpath).split(os.pathsep)
    # ninja and nvcc are called by name.
    found["PATH"] = os.pathsep.join([*(f for f in folders if f not in path), *path])
    return found


def _cuda(prefix: Path) -> Path | None:
    """The CUDA folder of the environment's wheels; None when there is none to compile with.

    Without it vLLM does without FlashInfer; with one that cannot link, its start would fail.
    """
    for home in prefix.glob("lib/python3.*/site-packages/nvidia/cu[0-9]*"):
        if (home / "bin/nvcc").exists() and (home / "lib64/libcudart.so").exists():
            return home
    return None
