"""What vLLM itself makes of models, without their weights: a program of its own.

``python -m tests.process.engine_view MEMORY FOLDER...`` prints a line of JSON for each: the bytes
of its parameters, and what its own classes say about a KV cache of MEMORY bytes. vLLM builds the
model on PyTorch's meta device, by the code that the engine runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from vllm.config import set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.usage.usage_lib import UsageContext
from vllm.v1.core import kv_cache_utils


def view(folder: str, memory: int) -> dict[str, Any]:
    """The engine's numbers for the model in ``folder``."""
    config = EngineArgs(
        model=folder,
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=-1,
        kv_cache_memory_bytes=memory,
    ).create_engine_config(UsageContext.OPENAI_API_SERVER)
    # The engine asks its workers for it; sizes do not depend on it.
    config.cache_config.kv_cache_layout = "LBHNC"
    with set_current_vllm_config(config):
        # Anew for each model: only some have a group for experts.
        parallel_state.destroy_model_parallel()  # type: ignore[no-untyped-call]
        parallel_state.initialize_model_parallel(1, 1)
        dtype: Any = config.model_config.dtype
        torch.set_default_dtype(dtype)
        with torch.device("meta"):
            model = initialize_model(config)
        layers = config.compilation_config.static_forward_context
        specs = {
            name: spec
            for name, layer in layers.items()
            if hasattr(layer, "get_kv_cache_spec")
            and (spec := layer.get_kv_cache_spec(config)) is not None
        }
        groups = kv_cache_utils.get_kv_cache_groups(config, dict(specs))
        cache = kv_cache_utils.get_kv_cache_configs(config, [dict(specs)], [memory])[0]
        tokens, concurrency = kv_cache_utils.get_kv_cache_capacity(config, cache)
    block = groups[0].kv_cache_spec.block_size
    pool = kv_cache_utils._pool_bytes_per_block(config, groups)
    return {
        "weight_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "kv_bytes_per_token": pool * len(groups) / block,
        "block": block,
        "context_length": config.model_config.max_model_len,
        "concurrency": concurrency,
        "kv_cache_tokens": tokens,
    }


def main(memory: int, folders: list[str]) -> None:
    """Print a line for each folder."""
    with tempfile.TemporaryDirectory() as place:
        meeting = f"file://{Path(place) / 'meeting'}"
        parallel_state.init_distributed_environment(1, 0, meeting, 0, "gloo")
        for folder in folders:
            print("VIEW", json.dumps(view(folder, memory)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
