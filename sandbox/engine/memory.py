"""Memory that was needed to get ready, and is not needed to serve."""

from __future__ import annotations

import ctypes
import linecache
import sys
from typing import Any

_libc = ctypes.CDLL(None)


def forget_imports() -> None:
    """Free what importing leaves behind; whoever wants it again reads it again."""
    # The sources of some hundred modules, whose comments vLLM and PyTorch look at. Those without
    # a time are of generated code, and in no file.
    for name, entry in [*linecache.cache.items()]:
        if len(entry) > 1 and entry[1] is not None:
            linecache.cache.pop(name, None)
    # The names of all files in all folders that were looked into.
    sys.path_importer_cache.clear()
    # What Transformers found in its folders to find its classes by.
    transformers: Any = sys.modules.get("transformers.utils.import_utils")
    if transformers:
        transformers.define_import_structure.cache_clear()
        transformers.create_import_structure_from_path.cache_clear()


def give_back() -> None:
    """Have the C library give free memory to the system, where it can do that."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
