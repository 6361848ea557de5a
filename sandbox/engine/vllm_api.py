"""Every vLLM symbol that we use, in one place; importing it imports vLLM (seconds).

tests/unit/engine/test_vllm_contract.py checks that each exists and takes what we pass, so that
an upgrade of vLLM fails there first.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
import vllm
import vllm.model_executor.models.registry as registry
import vllm.v1.engine.coordinator as coordinator
import vllm.v1.engine.utils as engine_utils
import vllm.v1.executor.multiproc_executor as multiproc_executor
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.openai.chat_completion.api_router import create_chat_completion
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.api_router import create_completion
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.envs import disable_envs_cache, enable_envs_cache
from vllm.parser.abstract_parser import DelegatingParser
from vllm.platforms import current_platform
from vllm.renderers.base import BaseRenderer
from vllm.renderers.hf import resolve_chat_template
from vllm.sampling_params import RequestOutputKind
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import OutputProcessor
from vllm.v1.metrics.loggers import PrometheusStatLogger

from sandbox.engine import zygote

__all__ = [
    "PROCESS_STARTERS",
    "AsyncEngineArgs",
    "AsyncLLM",
    "BaseRenderer",
    "ChatCompletionRequest",
    "CompletionRequest",
    "DelegatingParser",
    "EngineDeadError",
    "FlexibleArgumentParser",
    "OpenAIServingChat",
    "OpenAIServingCompletion",
    "OutputProcessor",
    "PrometheusStatLogger",
    "RequestOutputKind",
    "UsageContext",
    "build_app",
    "cached_tokenizer_from_config",
    "create_chat_completion",
    "create_completion",
    "cuda_is_initialized",
    "disable_envs_cache",
    "enable_envs_cache",
    "import_all",
    "init_app_state",
    "look_at_models_in_zygote",
    "make_arg_parser",
    "on_cpu",
    "preload_workers",
    "resolve_chat_template",
    "use_spawn",
    "use_zygote",
    "validate_parsed_serve_args",
    "version",
]

version: str = vllm.__version__

# The modules that start processes, each through its own name for ``get_mp_context``.
PROCESS_STARTERS = (engine_utils, multiproc_executor, coordinator)
_own_look_at_model = registry._run_in_subprocess
_OWN_CONTEXTS = [vars(module)["get_mp_context"] for module in PROCESS_STARTERS]


def on_cpu() -> bool:
    """True for vLLM's CPU build."""
    return bool(current_platform.is_cpu())


def cuda_is_initialized() -> bool:
    """True when this process can no longer be forked on a GPU machine."""
    initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return initialized


def preload_workers() -> None:
    """Import what engine processes import at their start."""
    importlib.import_module("vllm.v1.engine.core")
    if on_cpu():
        importlib.import_module("vllm.v1.worker.cpu_worker")
    else:
        importlib.import_module("vllm.v1.worker.gpu_worker")
        importlib.import_module("vllm.v1.worker.gpu_model_runner")


def import_all() -> None:
    """Import also what a load imports, which shows whether the packages fit together."""
    preload_workers()
    if not on_cpu():
        # The kinds of attention that vLLM chooses from. Not in the zygote: FlashInfer's initializes
        # CUDA, after which nothing can be forked.
        importlib.import_module("vllm.v1.attention.backends.flash_attn")
        importlib.import_module("vllm.v1.attention.backends.flashinfer")


def use_zygote() -> None:
    """Have vLLM start EngineCore and its workers as forks of the zygote."""
    for module in PROCESS_STARTERS:
        vars(module)["get_mp_context"] = zygote.get_mp_context


def look_at_models_in_zygote() -> None:
    """Have vLLM look at the class of a model in a fork of the zygote.

    vLLM does so once for each kind of model, in a program of its own that imports all of vLLM
    first.
    """
    vars(registry)["_run_in_subprocess"] = _look_at_model


def _look_at_model(look: Callable[[], Any]) -> Any:
    return zygote.call(look) if zygote.usable() else _own_look_at_model(look)


def use_spawn() -> None:
    """Have vLLM start its processes in its own way (VLLM_WORKER_MULTIPROC_METHOD is spawn)."""
    for module, own in zip(PROCESS_STARTERS, _OWN_CONTEXTS, strict=True):
        vars(module)["get_mp_context"] = own
