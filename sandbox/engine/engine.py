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

from sandbox.engine import (
    arguments,
    http_metrics,
    memory,
    misread,
    short_way,
    sockets,
    streaming,
    token_metrics,
    zygote,
)
from sandbox.engine.causes import not_loaded
from sandbox.engine.loading import import_vllm
from sandbox.engine.logs import EngineLog, first_sentence
from sandbox.engine.pacing import Pacer
from sandbox.engine.reading_ahead import ReadingAhead
from sandbox.engine.threads import cancelled, in_thread
from sandbox.errors import SandboxError
from sandbox.models.plan.decide import Plan
from sandbox.models.source import LocalModel
from sandbox.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp
    from vllm.v1.engine.async_llm import AsyncLLM

log = logging.getLogger(__name__)

_LOG_STATS_SECONDS = 10.0
# So long the processes of an engine may take to end when the launcher ends, too.
CLOSE_SECONDS = 5.0
_MESSAGING_SECONDS = 3.0
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
        self._tasks: list[asyncio.Task[None]] = []
        self.app: ASGIApp | None = None
        # The paths that vLLM serves for this model, as it writes them.
        self.paths: frozenset[str] = frozenset()

    @classmethod
    def start(
        cls, settings: Settings, model: LocalModel, plan: Plan | None, output: EngineLog
    ) -> Engine:
        """Load ``model`` as ``plan`` says. Blocks for as long as vLLM takes.

        Raises ``SandboxError`` with the root cause that vLLM's processes printed.
        """
        vllm_api = import_vllm()
        flags = _flags(vllm_api, settings, model, plan)
        output.forget()
        try:
            config = _configuration(vllm_api, flags)
            ahead = ReadingAhead(vllm_api, flags, config.model_config)
            # Binding to NUMA nodes puts another program in place of the one that is spawned.
            if not flags.numa_bind and zygote.usable():
                vllm_api.use_zygote()
            else:
                log.warning("Engine processes are spawned, which takes longer than forking them.")
                vllm_api.use_spawn()
            ahead.wait_for_tokenizer()
            client = vllm_api.AsyncLLM.from_vllm_config(
                vllm_config=config,
                usage_context=vllm_api.UsageContext.OPENAI_API_SERVER,
                enable_log_requests=flags.enable_log_requests,
                aggregate_engine_logging=flags.aggregate_engine_logging,
                disable_log_stats=flags.disable_log_stats,
                # Any one would count where none is wanted.
                stat_loggers=None
                if flags.disable_log_stats
                else [token_metrics.by_steps(vllm_api.PrometheusStatLogger)],
            )
            # reset_mm_cache waits for the image processor's warm-up, seconds for some models, and
            # would do so on the event loop.
            client.renderer._join_mm_warmup()
            ahead.wait()
        except Exception as error:
            zygote.sweep(seconds=2)
            sockets.empty()
            cause = output.root_cause() or first_sentence(error)
            kind = EngineDiedError if _KILLED.search(str(error)) else SandboxError
            raise kind(*not_loaded(settings.served_name, cause)) from error
        return cls(vllm_api, client, flags)

    @staticmethod
    def check(settings: Settings, model: LocalModel, plan: Plan | None) -> None:
        """Raise ``SandboxError`` when vLLM refuses ``model`` before it would load it. Blocks.

        Another engine may serve meanwhile.
        """
        vllm_api = import_vllm()
        flags = _flags(vllm_api, settings, model, plan)
        try:
            _configuration(vllm_api, flags)
        except Exception as error:
            raise SandboxError(*not_loaded(settings.served_name, first_sentence(error))) from error

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
            await self.close(CLOSE_SECONDS)
            if isinstance(error, SandboxError) or not isinstance(error, Exception):
                raise
            raise SandboxError(
                f"{name} cannot be served: {first_sentence(error)}",
                "Correct VLLM_EXTRA_ARGS, or choose another model.",
            ) from error
        # The environment is asked for every token otherwise. EngineCore does the same.
        self._vllm.enable_envs_cache()
        memory.forget_imports()
        # These two are done by the lifespan of vLLM's app, which does not run inside ours.
        gc.collect()
        gc.freeze()
        memory.give_back()
        if not self._flags.disable_log_stats:
            self._tasks.append(asyncio.create_task(self._log_stats()))
        if self._flags.stream_interval == 1:
            kind = self._vllm.RequestOutputKind.DELTA
            self._tasks.append(
                asyncio.create_task(Pacer(self._client.output_processor, kind).run())
            )
        self.paths = frozenset(getattr(route, "path", "") for route in app.routes)
        short_way.install(self._vllm, app, self.paths)
        self.app = streaming.install(self._vllm, app, self._flags)

    @property
    def dead(self) -> bool:
        """True once EngineCore or a worker ended or reported a fatal error."""
        return bool(self._client.errored)

    async def ask(self) -> None:
        """Return when EngineCore and every worker have answered; costs no token."""
        # No timeout: vLLM would take a late answer for that to its next question.
        await self._client.collective_rpc("check_health")

    @property
    def on_cpu(self) -> bool:
        """True where steps are computed by the processor."""
        return bool(self._vllm.on_cpu())

    @property
    def most_at_once(self) -> int:
        """On how many requests it works together; more wait in its queue."""
        return int(self._client.vllm_config.scheduler_config.max_num_seqs)

    @property
    def details(self) -> dict[str, Any]:
        """What a person may want to know of the loaded model."""
        config = self._client.vllm_config
        model, cache = config.model_config, config.cache_config
        concurrency = cache.kv_cache_max_concurrency
        return {
            "architecture": model.architectures[0] if model.architectures else "",
            "context_length": int(model.max_model_len),
            # How many tokens the KV cache holds, as measured when its memory was taken, and how
            # many requests of full length run at once; None for a model without a KV cache.
            "kv_cache_tokens": cache.kv_cache_size_tokens,
            "concurrency": min(round(concurrency, 1), self.most_at_once) if concurrency else None,
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": model.quantization,
            "tensor_parallel_size": int(config.parallel_config.tensor_parallel_size),
            "device": str(config.device_config.device_type),
            "engine": f"vLLM {self._vllm.version}",
            # EngineCore first, then its workers: for py-spy and gdb.
            "engine_pids": zygote.engine_processes(),
        }

    async def close(self, seconds: float) -> None:
        """Stop the engine and every process of it; safe to call for a dead one.

        What has not ended by itself after ``seconds`` is killed, and leaves its shared memory to
        the end of the launcher.
        """
        for task in self._tasks:
            await cancelled(task)
        self.app = None
        # What follows may be another model, with other settings.
        self._vllm.disable_envs_cache()
        # Streams that still run are told here: the task that would tell them is ended next, so
        # that it does not take the shutdown for a death and log one.
        self._client.output_processor.propagate_error(self._vllm.EngineDeadError())
        if self._client.output_handler:
            self._client.output_handler.cancel()
        await asyncio.to_thread(self._client.shutdown, seconds)
        await asyncio.to_thread(zygote.sweep, seconds)
        await self._release()
        # ``open`` froze what is garbage now; the next ``open`` collects it.
        gc.unfreeze()

    async def _release(self) -> None:
        """Give back descriptors and threads, which vLLM leaves to the end of the process."""
        resources = self._client.engine_core.resources
        for process in resources.engine_manager.processes:
            # One that cannot end is left to itself.
            with contextlib.suppress(ValueError):
                process.join(0)
                process.close()
        context = resources.ctx
        # ZeroMQ's. Its sockets were closed on this loop; one that was not would hold this up.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(in_thread(context.term), _MESSAGING_SECONDS)
        sockets.empty()

    async def _build_app(self) -> FastAPI:
        await self._client.reset_mm_cache()
        tasks = await self._client.get_supported_tasks()
        http_metrics.forget()
        # In a thread: it may import modules.
        app: FastAPI = await asyncio.to_thread(
            self._vllm.build_app, self._flags, tasks, self._client.model_config
        )
        misread.install(app)
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


def _flags(
    vllm_api: ModuleType, settings: Settings, model: LocalModel, plan: Plan | None
) -> Namespace:
    words = arguments.compose(settings, model, plan, cpu=vllm_api.on_cpu())
    try:
        return arguments.parse(vllm_api, words)
    except RuntimeError as error:
        # The flags' defaults depend on the kind of device.
        raise SandboxError(*not_loaded(settings.served_name, first_sentence(error))) from error


def _configuration(vllm_api: ModuleType, flags: Namespace) -> Any:
    vllm_api.look_at_models_in_zygote()
    return vllm_api.AsyncEngineArgs.from_cli_args(flags).create_engine_config(
        usage_context=vllm_api.UsageContext.OPENAI_API_SERVER
    )
