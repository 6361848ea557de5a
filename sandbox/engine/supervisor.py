"""From settings to a model that answers, and from one model to the next.

The only writer of the lifecycle, with ``Serving``, until a stop begins. Runs on the event loop of
the launcher; what blocks runs in daemon threads, so that a stop never waits for a download or a
load.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NoReturn

from sandbox.engine import changes, zygote
from sandbox.engine.draining import DRAIN_SECONDS, drained, requests
from sandbox.engine.engine import Engine
from sandbox.engine.lifecycle import Lifecycle, Preparation, State
from sandbox.engine.logs import EngineLog, first_sentence
from sandbox.engine.preparing import Prepared, first_step, prepare
from sandbox.engine.serving import GaveUpError, Serving
from sandbox.engine.threads import cancelled, in_thread
from sandbox.errors import ExitCode, SandboxError
from sandbox.settings import Settings

log = logging.getLogger(__name__)

# With another model to go back to, one whose engine is killed while it loads has one more try.
_MAX_DEATHS_OF_NEXT = 2
# More than at the end of the launcher, which frees what processes that are killed leave.
_UNLOAD_SECONDS = 20.0


class Supervisor:
    """Has at most one model serving and one being prepared.

    ``run`` ends only when the engine died too often, or when cancelled.
    """

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        engine_log: EngineLog,
        running: Callable[[], int],
    ) -> None:
        self._wanted = settings
        self._lifecycle = lifecycle
        self._log = engine_log
        # How many requests the engine works on.
        self._requests = running
        self._preparing: asyncio.Task[Prepared] | None = None
        self._serving: Serving | None = None
        self._running: asyncio.Task[NoReturn] | None = None
        # What served before the model that loads now, to go back to.
        self._before: Prepared | None = None
        self._asked = asyncio.Event()
        self._hearing: asyncio.Task[Any]
        self._letter: tuple[Settings | None, str] = (None, "")

    @property
    def engine(self) -> Engine | None:
        """The engine that is there now, answering or dead."""
        return self._serving.engine if self._serving else None

    def reload(self, settings: Settings | None, notice: str) -> None:
        """Have ``settings`` in force soon, or the old ones stay; ``notice`` is for people."""
        self._letter = (settings, notice)
        self._asked.set()

    async def run(self) -> ExitCode:
        """Serve until cancelled; the return value is the exit code of a give-up."""
        self._prepare(self._wanted)
        self._hearing = asyncio.create_task(self._asked.wait())
        try:
            while True:
                tasks = [self._hearing, self._preparing, self._running]
                await asyncio.wait(filter(None, tasks), return_when=asyncio.FIRST_COMPLETED)
                if self._hearing.done():
                    self._asked.clear()
                    self._hearing = asyncio.create_task(self._asked.wait())
                    await self._take_settings(*self._letter)
                elif self._running and self._running.done():
                    code = await self._take_end(self._running)
                    if code is not None:
                        return code
                elif self._preparing and self._preparing.done():
                    await self._take_prepared(self._preparing)
        finally:
            for task in filter(None, (self._hearing, self._preparing, self._running)):
                await cancelled(task)

    async def close(self) -> None:
        """Stop the engine, or the loading of one."""
        if self._serving:
            await self._serving.close()
        else:
            await asyncio.to_thread(zygote.sweep, 0)

    async def _take_settings(self, settings: Settings | None, notice: str) -> None:
        """Begin what ``settings`` ask for, unless it is so already or on its way."""
        status = self._lifecycle.status
        serving = self._serving
        as_served = (
            serving and settings and changes.same_engine(serving.prepared.settings, settings)
        )
        if as_served and not status.next and not notice:
            notice = f"Nothing has changed for {status.model}."
        if notice:
            log.warning("%s", notice)
        on_its_way = (
            self._preparing and settings and changes.same_preparation(self._wanted, settings)
        )
        if settings and not on_its_way:
            if self._preparing:
                await cancelled(self._preparing)
                self._preparing = None
            self._wanted = settings
            if as_served:
                await self._lifecycle.update(next=None)
            else:
                # Before the reload is counted: who waits for that sees what it began.
                await self._show(first_step(settings))
                self._prepare(settings)
        await self._lifecycle.update(notice=notice, reloads=status.reloads + 1)

    def _prepare(self, settings: Settings) -> None:
        self._preparing = asyncio.create_task(prepare(settings, self._show))

    async def _show(self, step: Preparation) -> None:
        """Publish a step of the preparation: beside the model that serves, or as the state."""
        if self._serving:
            await self._lifecycle.update(next=step)
        elif step.progress and self._lifecycle.status.state is step.state:
            await self._lifecycle.update(
                message=step.message, hint=step.hint, progress=step.progress
            )
        else:
            await self._lifecycle.set(
                step.state,
                step.message,
                step.hint,
                model=step.model,
                model_id=step.model_id,
                details=step.details,
                next=None,
            )

    async def _take_prepared(self, preparing: asyncio.Task[Prepared]) -> None:
        """Put the model that was prepared in the place of the one that serves, if one does."""
        try:
            prepared = preparing.result()
            if self._serving and not await self._may_switch(self._serving, prepared):
                # Looked at again: the serving model failed, or other settings came.
                return
        except Exception as error:
            self._preparing = None
            await self._fail_prepared(_explained(error, self._wanted.served_name))
            return
        self._preparing = None
        message = f"{prepared.name} is loading."
        if self._serving:
            await self._stop_for(self._serving, prepared)
        else:
            # It may have been the next one until the model before it failed.
            await self._show(_loading(prepared, message))
        self._start(prepared, message)

    async def _may_switch(self, serving: Serving, prepared: Prepared) -> bool:
        """Have vLLM look at ``prepared``, and wait for the serving model to load if it does."""
        await self._show(_loading(prepared, f"{prepared.name} is being checked."))
        await in_thread(Engine.check, prepared.settings, prepared.model, prepared.plan)
        # A load is never cancelled: processes that it starts later would be nobody's.
        answering = asyncio.create_task(serving.answering.wait())
        assert self._running
        await asyncio.wait(
            {answering, self._running, self._hearing}, return_when=asyncio.FIRST_COMPLETED
        )
        await cancelled(answering)
        return not self._running.done() and not self._hearing.done()

    async def _stop_for(self, serving: Serving, prepared: Prepared) -> None:
        assert self._running
        old, new = serving.prepared.name, prepared.name
        await cancelled(self._running)
        self._running = None
        await self._lifecycle.set(
            State.DRAINING,
            f"{old} makes room for {new}; {requests(self._requests())} being finished.",
            switching=True,
            next=None,
        )
        await drained(self._requests, lambda: DRAIN_SECONDS)
        await serving.close(_UNLOAD_SECONDS)
        self._before = serving.prepared

    def _start(self, prepared: Prepared, message: str, *, has_answered: bool = False) -> None:
        self._serving = Serving(prepared, self._lifecycle, self._log, has_answered=has_answered)
        going = self._serving.run(message, *([_MAX_DEATHS_OF_NEXT] if self._before else []))
        self._running = asyncio.create_task(going)

    async def _take_end(self, running: asyncio.Task[NoReturn]) -> ExitCode | None:
        """The model could not be loaded or died too often: the one before, or an explanation."""
        serving, before = self._serving, self._before
        assert serving
        self._running = self._serving = self._before = None
        await serving.close()
        error = running.exception()
        assert error
        explained = _explained(error, serving.prepared.name)
        if before and not serving.has_answered:
            await self._go_back(serving.prepared, before, explained)
        elif isinstance(error, GaveUpError):
            await self._lifecycle.set(State.FAILED, explained.message, explained.hint)
            return ExitCode.FAILURE
        else:
            await self._fail(explained)
        return None

    async def _go_back(self, tried: Prepared, before: Prepared, error: SandboxError) -> None:
        log.error("%s %s", error.message, error.hint, exc_info=error.__cause__)
        identity = tried.settings.model_id
        failed = Preparation(State.FAILED, tried.name, error.message, error.hint, model_id=identity)
        if self._preparing and changes.same_engine(self._wanted, before.settings):
            # Asked for meanwhile: it comes back anyway.
            await cancelled(self._preparing)
            self._preparing = None
        if not self._preparing:
            await self._lifecycle.update(next=failed)
        message = f"{before.name} is loading again: {tried.name} could not be loaded."
        self._start(before, message, has_answered=True)

    async def _fail_prepared(self, error: SandboxError) -> None:
        if not self._serving:
            await self._fail(error, next=None)
            return
        log.error("%s %s", error.message, error.hint, exc_info=error.__cause__)
        name, identity = self._wanted.served_name, self._wanted.model_id
        failed = Preparation(State.FAILED, name, error.message, error.hint, model_id=identity)
        await self._lifecycle.update(next=failed)

    async def _fail(self, error: SandboxError, **changes: Any) -> None:
        log.error("%s %s", error.message, error.hint, exc_info=error.__cause__)
        await self._lifecycle.set(
            State.FAILED, error.message, error.hint, switching=False, **changes
        )


def _loading(prepared: Prepared, message: str) -> Preparation:
    return Preparation(
        State.LOADING,
        prepared.name,
        message,
        model_id=prepared.settings.model_id,
        details=prepared.details,
    )


def _explained(error: BaseException, name: str) -> SandboxError:
    if isinstance(error, SandboxError):
        return error
    # A mistake of ours would be made again after a restart: explain, do not crash-loop.
    log.error("Unexpected", exc_info=error)
    return SandboxError(
        f"{name} could not be started: {first_sentence(error)}",
        "This is a mistake in AI Sandbox; please report it with the log.",
    )
