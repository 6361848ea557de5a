"""Import vLLM in a thread of a process that goes on answering."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sandbox.engine.memory import forget_imports

# Hundreds of megabytes to map and relocate; the import system would hold the interpreter's lock
# for all of it (measured: 0.2 to 0.6 s for libtorch_cpu.so on two busy cores).
_LARGE_LIBRARIES = ("libtorch_cpu.so", "libtorch_cuda.so")


_VLLM = "sandbox.engine.vllm_api"
# Two threads may want it: one ahead of time, one to use it.
_one_at_a_time = threading.Lock()


def import_vllm() -> ModuleType:
    """Import and return ``sandbox.engine.vllm_api`` without stalling the event loop. Blocks."""
    with _one_at_a_time:
        if _VLLM in sys.modules:
            return sys.modules[_VLLM]
        _load_large_libraries()
        with keeping_imports():
            return importlib.import_module(_VLLM)


def import_ahead() -> None:
    """Begin the import, which ``import_vllm`` then waits for; what fails fails there again."""

    def run() -> None:
        with contextlib.suppress(Exception):
            import_vllm()

    threading.Thread(target=run, name="import-vllm", daemon=True).start()


@contextlib.contextmanager
def keeping_imports() -> Iterator[None]:
    """Have the garbage collector take what is imported for what stays, as it does.

    A full collection walks the growing heap with the interpreter's lock held, and finds next to
    nothing: a quarter of the time of the import. Young garbage is collected as ever.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], 10**9)
    try:
        yield
    finally:
        forget_imports()
        # Nor do later collections walk it: half a second each, and in a fork copies of its memory.
        gc.freeze()
        gc.set_threshold(*thresholds)


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
