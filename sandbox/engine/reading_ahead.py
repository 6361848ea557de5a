"""What the launcher itself does for a model is done while it waits for other processes.

A tokenizer of usual size takes a second or two, and vLLM reads it twice in the launcher: before it
starts EngineCore, and once more on the event loop, when it looks for the chat template. Both times
it asks a cache first, which is what is filled here. The first app imports a hundred modules.
"""

from __future__ import annotations

import gc
import logging
import threading
from argparse import Namespace
from types import ModuleType
from typing import Any

from sandbox.engine.memory import forget_imports

log = logging.getLogger(__name__)


class ReadingAhead:
    """A thread that does so for one model; what fails there shows when vLLM does it."""

    def __init__(self, vllm_api: ModuleType, flags: Namespace, model_config: Any) -> None:
        self._vllm = vllm_api
        self._flags = flags
        self._config = model_config
        self._tokenizer_read = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reading-ahead", daemon=True)
        self._thread.start()

    def wait_for_tokenizer(self) -> None:
        """Return when the tokenizer is read, so that it is not read twice. Blocks."""
        self._tokenizer_read.wait()

    def wait(self) -> None:
        """Return when all is read. Blocks."""
        self._thread.join()

    def _read(self) -> None:
        try:
            tokenizer = self._vllm.cached_tokenizer_from_config(self._config)
            self._tokenizer_read.set()
            if tokenizer is not None:
                self._vllm.resolve_chat_template(tokenizer, None, None, model_config=self._config)
            # Of no use but for what it imports: which tasks there are is the engine's to say.
            self._vllm.build_app(self._flags, ("generate",), self._config)
            # That app, and what its imports leave behind: memory that the next one can have.
            gc.collect()
            forget_imports()
        except Exception:
            log.debug("Reading ahead failed", exc_info=True)
        finally:
            self._tokenizer_read.set()
