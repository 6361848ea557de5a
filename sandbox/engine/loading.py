"""Import vLLM in a thread of a process that goes on answering."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
from pathlib import Path
from types import ModuleType

# Hundreds of megabytes to map and relocate; the import system would hold the interpreter's lock
# for all of it (measured: 0.2 to 0.6 s for libtorch_cpu.so on two busy cores).
_LARGE_LIBRARIES = ("libtorch_cpu.so", "libtorch_cuda.so")


def import_vllm() -> ModuleType:
    """Import and return ``sandbox.engine.vllm_api`` without stalling the event loop. Blocks."""
    _load_large_libraries()
    collecting = gc.isenabled()
    # Each full collection walks the growing heap with the lock held, and finds nothing.
    gc.disable()
    try:
        from sandbox.engine import vllm_api
    finally:
        # What was imported stays: keep later collections from walking it (half a second).
        gc.freeze()
        if collecting:
            gc.enable()
    return vllm_api


def _load_large_libraries() -> None:
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return
    folder = Path(torch.origin).parent / "lib"
    # A function called through CDLL runs without the lock; ``ctypes.CDLL(path)`` keeps it.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    dlopen.argtypes = (ctypes.c_char_p, ctypes.c_int)
    for name in _LARGE_LIBRARIES:
        if (folder / name).is_file():
            # A failure shows again, with its reason, when torch is imported.
            dlopen(os.fsencode(folder / name), os.RTLD_NOW | os.RTLD_LOCAL)
