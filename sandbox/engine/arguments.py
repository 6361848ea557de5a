"""Settings and a model on disk to the flags of ``vllm serve``."""

from __future__ import annotations

import shlex
from argparse import Namespace
from types import ModuleType
from typing import NoReturn

from sandbox.errors import ConfigError
from sandbox.host import hardware
from sandbox.models.families import family_of
from sandbox.models.plan.decide import Plan
from sandbox.models.plan.fit import cpu_kv_cache_bytes
from sandbox.models.source import LocalModel
from sandbox.settings import Settings

# No host has this name. It stands in vLLM's refusal, where it says what to do.
NO_MEDIA_HOST = "none-see-the-setting-media-domains.invalid"

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


def compose(
    settings: Settings, model: LocalModel, plan: Plan | None = None, *, cpu: bool
) -> list[str]:
    """The words of ``vllm serve`` for ``model``; what comes later wins.

    What is ``auto`` in the settings follows from ``plan``; without one, or with one for another
    kind of device than vLLM has, vLLM decides.
    Raises ``ConfigError`` when VLLM_EXTRA_ARGS cannot be split or names a flag of the launcher's.
    """
    way = plan.way if plan and bool(plan.machine.gpus) != cpu else None
    context: int | str = settings.max_model_len
    parallel: int | str = settings.tensor_parallel_size
    quantization: str | None = settings.quantization
    if plan and way:
        context = plan.context_length
        parallel = way.tensor_parallel if parallel == "auto" else parallel
        quantization = way.quantization if quantization == "auto" else quantization
    flags = ["--model", str(model.folder), "--served-model-name", settings.served_name]
    flags += ["--max-model-len", str(context)]
    if parallel not in ("auto", 1):
        flags += ["--tensor-parallel-size", str(parallel)]
    if quantization not in ("auto", None):
        flags += ["--quantization", str(quantization)]
    if settings.gpu_memory_utilization != "auto" and not cpu:
        flags += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    if way and way.dtype:
        flags += ["--dtype", way.dtype]
    if cpu:
        room = hardware.available_memory()
        cache = way.kv_cache_bytes if way else cpu_kv_cache_bytes(room, builtin=model.builtin)
        # Compiling for a CPU takes longer than it saves for models of a size that a CPU serves.
        flags += ["--enforce-eager", "--kv-cache-memory-bytes", str(cache)]
    hosts = [host.strip() for host in settings.media_domains.split(",") if host.strip()]
    flags += ["--allowed-media-domains", *(hosts or [NO_MEDIA_HOST])]
    flags += family_of(model.model_type, model.folder).flags
    return flags + extra_flags(settings)


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
