"""One engine: vLLM's AsyncLLM with vLLM's own app around it, from start to close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
from argparse import Namespace
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from sandbox.engine import arguments, zygote
from sandbox.engine.loading import import_vllm
from sandbox.engine.logs import EngineLog, first_sentence
from sandbox.errors import SandboxError
from sandbox.models.source import LocalModel
from sandbox.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from vllm.v1.engine.async_llm import AsyncLLM

log = logging.getLogger(__name__)

_LOG_STATS_SECONDS = 10.0
# vLLM's words for a process that was killed, by the kernel for want of memory for example. Other
# signals are crashes, which the next try would see again.
_KILLED = re.compile(r"': -9\b")


class EngineDiedError(SandboxError):
    """A process of the engine was killed while it loaded; another try may go well."""


class Engine:
    """A running engine. ``start`` blocks and belongs in a thread; ``open`` runs on the loop."""

    def __init__(self, vllm_api: ModuleType, client: AsyncLLM, flags: Namespace) -> None:
        self._vllm = vllm_api
        self._client = client
        self._flags = flags
        self._stats: asyncio.Task[None] | None = None
        self.app: FastAPI | None = None
        # The paths that vLLM serves for this model, as it writes them.
        self.paths: frozenset[str] = frozenset()

    @classmethod
    def start(cls, settings: Settings, model: LocalModel, output: EngineLog) -> Engine:
        """Load ``model``. Blocks for as long as vLLM takes.

        Raises ``SandboxError`` with the root cause that vLLM's processes printed.
        """
        vllm_api = import_vllm()
        words = arguments.compose(settings, model, cpu=vllm_api.on_cpu())
        flags = arguments.parse(vllm_api, words)
        output.forget()
        try:
            config = vllm_api.AsyncEngineArgs.from_cli_args(flags).create_engine_config(
                usage_context=vllm_api.UsageContext.OPENAI_API_SERVER
            )
            # Binding to NUMA nodes puts another program in place of the one that is spawned.
            if not flags.numa_bind and zygote.usable():
                vllm_api.use_zygote()
            else:
                log.warning("Engine processes are spawned, which takes longer than forking them.")
                vllm_api.use_spawn()
            client = vllm_api.AsyncLLM.from_vllm_config(
                vllm_config=config,
                usage_context=vllm_api.UsageContext.OPENAI_API_SERVER,
                enable_log_requests=flags.enable_log_requests,
                aggregate_engine_logging=flags.aggregate_engine_logging,
                disable_log_stats=flags.disable_log_stats,
            )
            # reset_mm_cache waits for the image processor's warm-up, seconds for some models, and
            # would do so on the event loop.
            client.renderer._join_mm_warmup()
        except Exception as error:
            zygote.sweep(seconds=2)
            cause = output.root_cause() or first_sentence(error)
            raise (EngineDiedError if _KILLED.search(str(error)) else SandboxError)(
                f"{settings.served_name} could not be loaded: {cause}",
                "The log has the whole story; another model, a shorter MAX_MODEL_LEN or other "
                "VLLM_EXTRA_ARGS may help.",
            ) from error
        return cls(vllm_api, client, flags)

    async def open(self) -> None:
        """Build vLLM's app around the engine, so that ``app`` answers.

        Raises ``SandboxError`` when vLLM refuses the model for a reason that it sees only now.
        """
        name = self._flags.served_model_name[0]
        building = asyncio.ensure_future(self._build_app())
        try:
            while not building.done():
                await asyncio.wait({building}, timeout=0.5)
                # What it asked the engine is never answered then.
                if self.dead and not building.done():
                    raise EngineDiedError(f"{name}: the engine died while it started.")
            app = building.result()
        except BaseException as error:
            building.cancel()
            await self.close()
            if isinstance(error, SandboxError) or not isinstance(error, Exception):
                raise
            raise SandboxError(
                f"{name} cannot be served: {first_sentence(error)}",
                "Correct VLLM_EXTRA_ARGS, or choose another model.",
            ) from error
        # These two are done by the lifespan of vLLM's app, which does not run inside ours.
        gc.collect()
        gc.freeze()
        if not self._flags.disable_log_stats:
            self._stats = asyncio.create_task(self._log_stats())
        self.paths = frozenset(getattr(route, "path", "") for route in app.routes)
        self.app = app

    @property
    def dead(self) -> bool:
        """True once EngineCore or a worker ended or reported a fatal error."""
        return bool(self._client.errored)

    @property
    def details(self) -> dict[str, Any]:
        """What a person may want to know of the loaded model."""
        config = self._client.vllm_config
        model = config.model_config
        return {
            "architecture": model.architectures[0] if model.architectures else "",
            "context_length": int(model.max_model_len),
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": model.quantization,
            "tensor_parallel_size": int(config.parallel_config.tensor_parallel_size),
            "device": str(config.device_config.device_type),
            "engine": f"vLLM {self._vllm.version}",
            # EngineCore first, then its workers: for py-spy and gdb.
            "engine_pids": zygote.engine_processes(),
        }

    async def close(self, seconds: float = 5.0) -> None:
        """Stop the engine and every process of it; safe to call for a dead one."""
        if self._stats:
            self._stats.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stats
        self.app = None
        # Streams that still run are told here: the task that would tell them is ended next, so
        # that it does not take the shutdown for a death and log one.
        self._client.output_processor.propagate_error(self._vllm.EngineDeadError())
        if self._client.output_handler:
            self._client.output_handler.cancel()
        await asyncio.to_thread(self._client.shutdown, seconds)
        await asyncio.to_thread(zygote.sweep, seconds)

    async def _build_app(self) -> FastAPI:
        await self._client.reset_mm_cache()
        tasks = await self._client.get_supported_tasks()
        # In a thread: it imports a hundred modules on the first call.
        app: FastAPI = await asyncio.to_thread(
            self._vllm.build_app, self._flags, tasks, self._client.model_config
        )
        # vLLM's error handler asks its server to stop when the engine died; ours restarts.
        app.state.server = SimpleNamespace(should_exit=False)
        await self._vllm.init_app_state(self._client, app.state, self._flags, tasks)
        return app

    async def _log_stats(self) -> None:
        while not self.dead:
            await asyncio.sleep(_LOG_STATS_SECONDS)
            try:
                await self._client.do_log_stats()
            except self._vllm.EngineDeadError:
                return
