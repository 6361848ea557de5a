"""Settings and a model on disk to the flags of ``vllm serve``."""

from __future__ import annotations

import shlex
from argparse import Namespace
from types import ModuleType
from typing import NoReturn

from sandbox.errors import ConfigError
from sandbox.host import hardware
from sandbox.models.families import flags_of_family
from sandbox.models.source import LocalModel
from sandbox.settings import Settings

GIB = 2**30

# Flags that would fight with what the launcher owns, and the setting to use instead.
_OURS = {
    "--model": "MODEL_ID",
    "--revision": "MODEL_REVISION",
    "--served-model-name": "SERVED_MODEL_NAME",
    "--host": "API_HOST",
    "--port": "API_PORT",
    "--api-key": "API_KEY",
    "--hf-token": "HF_TOKEN",
    "--uds": "API_HOST",
    "--headless": "",
    "--api-server-count": "",
    "--grpc": "",
    "--ssl-keyfile": "",
    "--ssl-certfile": "",
}


def compose(settings: Settings, model: LocalModel, *, cpu: bool) -> list[str]:
    """The flags for ``model``; VLLM_EXTRA_ARGS come last, so they win.

    Raises ``ConfigError`` when VLLM_EXTRA_ARGS cannot be split or names a flag of the launcher's.
    """
    flags = ["--model", str(model.folder), "--served-model-name", settings.served_name]
    flags += ["--max-model-len", str(settings.max_model_len)]
    if settings.tensor_parallel_size != "auto":
        flags += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    if settings.quantization != "auto":
        flags += ["--quantization", settings.quantization]
    if settings.gpu_memory_utilization != "auto" and not cpu:
        flags += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    if cpu:
        # Compiling for a CPU takes longer than it saves for models of a size that a CPU serves.
        flags += ["--enforce-eager", "--kv-cache-memory-bytes", str(cpu_kv_cache_bytes(model))]
    flags += flags_of_family(model.model_type, model.folder)
    return flags + extra_flags(settings)


def cpu_kv_cache_bytes(model: LocalModel) -> int:
    """Bytes of memory for the KV cache on a CPU, where vLLM itself would take 92% of all."""
    if model.builtin:
        return GIB // 4
    # vLLM touches all of it at the start: about a second a GiB.
    return max(GIB // 4, min(2 * GIB, hardware.available_memory() // 8))


def extra_flags(settings: Settings) -> list[str]:
    """VLLM_EXTRA_ARGS as words."""
    try:
        words = shlex.split(settings.vllm_extra_args)
    except ValueError as error:
        raise ConfigError(
            f"VLLM_EXTRA_ARGS cannot be split into words: {str(error).lower()}.",
            "Close every quote, as in a shell.",
        ) from None
    for word in words:
        name = word.split("=", 1)[0].replace("_", "-")
        if name in _OURS:
            setting = _OURS[name]
            raise ConfigError(
                f"VLLM_EXTRA_ARGS has {name}, which AI Sandbox sets itself.",
                f"Remove it and set {setting} instead." if setting else "Remove it.",
            )
    return words


def parse(vllm_api: ModuleType, flags: list[str]) -> Namespace:
    """The flags as vLLM's own parser reads them.

    Raises ``ConfigError`` with the parser's sentence: only VLLM_EXTRA_ARGS and the settings that
    are handed through can be the cause.
    """

    class Parser(vllm_api.FlexibleArgumentParser):  # type: ignore[misc, name-defined]
        def error(self, message: str) -> NoReturn:
            raise ConfigError(
                f"vLLM does not accept its flags: {message}.",
                "Correct VLLM_EXTRA_ARGS; all flags: https://docs.vllm.ai/en/stable/cli/serve",
            )

    try:
        # Without abbreviations: they would get past the list of flags that are ours.
        parser = vllm_api.make_arg_parser(Parser(add_help=False, allow_abbrev=False))
        arguments: Namespace = parser.parse_args(flags)
        vllm_api.validate_parsed_serve_args(arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"vLLM does not accept its flags: {error}.", "Correct VLLM_EXTRA_ARGS."
        ) from None
    if arguments.model_tag is not None:
        raise ConfigError(
            f"VLLM_EXTRA_ARGS has {arguments.model_tag!r}, which belongs to no flag.", "Remove it."
        )
    return arguments
