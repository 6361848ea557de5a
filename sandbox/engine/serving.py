"""One model that serves: loaded, and loaded again whenever its engine dies."""

from __future__ import annotations

import asyncio
import collections
import logging
import re
import time
from typing import NoReturn

from sandbox.engine import zygote
from sandbox.engine.engine import CLOSE_SECONDS, Engine, EngineDiedError
from sandbox.engine.heartbeat import BUSY_SECONDS, BUSY_SECONDS_ON_CPU, until_hung
from sandbox.engine.lifecycle import Lifecycle, State
from sandbox.engine.logs import EngineLog
from sandbox.engine.preparing import Prepared
from sandbox.engine.threads import cancelled, in_thread
from sandbox.errors import SandboxError
from sandbox.host.processes import processor_seconds, state
from sandbox.models.families import family_of
from sandbox.models.plan.chosen import shortened
from sandbox.models.plan.decide import Plan

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_MAX_DEATHS = 5
_DEATH_WINDOW_SECONDS = 600.0
# vLLM's words when the KV cache that it measured is smaller than planned.
_MEASURED = re.compile(r"estimated maximum model length is (\d+)")


class GaveUpError(SandboxError):
    """The engine died too often."""


class Serving:
    """Owns the engine of one model. Publishes ``loading``, ``ready`` and the deaths between."""

    def __init__(
        self,
        prepared: Prepared,
        lifecycle: Lifecycle,
        engine_log: EngineLog,
        *,
        has_answered: bool = False,
    ) -> None:
        self.prepared = prepared
        self._lifecycle = lifecycle
        self._log = engine_log
        self._plan = prepared.plan
        self._deaths: collections.deque[float] = collections.deque()
        self.engine: Engine | None = None
        # Set while a model answers.
        self.answering = asyncio.Event()
        # True for one that did so earlier, too: what keeps it from loading now may pass.
        self.has_answered = has_answered

    async def run(self, message: str, max_deaths_unready: int = _MAX_DEATHS) -> NoReturn:
        """Load the model, saying ``message``, and replace its engine whenever it dies.

        Raises ``SandboxError`` when it cannot be loaded and never answered, and ``GaveUpError``
        after too many deaths, of which ``max_deaths_unready`` may come before it first answered.
        Cancelled, it leaves the engine as it is.
        """
        name = self.prepared.name
        deaths = restarts = 0
        details = self.prepared.details
        while deaths < (_MAX_DEATHS if self.has_answered else max_deaths_unready):
            await self._lifecycle.set(
                State.LOADING,
                message,
                model=name,
                model_id=self.prepared.settings.model_id,
                restarts=restarts,
                details=details,
            )
            # The first restart is at once; the next ones wait longer and longer.
            await asyncio.sleep(2.0 ** (deaths - 1) - 1 if deaths else 0)
            what = "stopped unexpectedly"
            try:
                await self._load()
                what = await self._until_dead()
            except SandboxError as error:
                lasting = not isinstance(error, EngineDiedError) and not self.has_answered
                if lasting and not deaths:
                    raise
                log.error("%s %s", error.message, error.hint)
            self.answering.clear()
            deaths = self._count_death()
            restarts += 1
            log.error("The engine %s (%d times in 10 minutes)", what, deaths)
            message = f"{name}: the engine {what} and is being restarted."
            details = self._lifecycle.status.details
            await self._lifecycle.set(State.LOADING, message, restarts=restarts)
            await self.close()
        raise GaveUpError(
            f"{name}: the engine died {deaths} times within 10 minutes.",
            "The log says why. The service is started anew.",
        )

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Stop the engine, whose processes have ``seconds`` to end, or the loading of one."""
        engine, self.engine = self.engine, None
        if engine:
            await engine.close(seconds)
        else:
            await asyncio.to_thread(zygote.sweep, 0)

    async def _load(self) -> None:
        settings, model = self.prepared.settings, self.prepared.model
        with self._log.capture():
            zygote.restart_if_killed()
        try:
            engine = await in_thread(Engine.start, settings, model, self._plan, self._log)
        except SandboxError as error:
            self._plan = self._shorter(error)
            log.warning("%s It is tried with that.", error.message)
            engine = await in_thread(Engine.start, settings, model, self._plan, self._log)
        await engine.open()
        self.engine = engine
        self.has_answered = True
        details = (self._plan.details if self._plan else {}) | engine.details
        details |= family_of(model.model_type, model.folder).details
        name = self.prepared.name
        await self._lifecycle.set(
            State.READY, f"{name} is ready.", details=details, switching=False
        )
        self.answering.set()

    def _shorter(self, error: SandboxError) -> Plan:
        """The plan with the context that vLLM measured to fit, or ``error`` again."""
        measured = _MEASURED.search(error.message)
        automatic = self.prepared.settings.max_model_len == "auto"
        if not (measured and self._plan and automatic):
            raise error
        context = int(measured[1])
        # Once: a context that vLLM named itself is not refused again.
        if context >= self._plan.context_length:
            raise error
        return shortened(self._plan, context)

    async def _until_dead(self) -> str:
        """Return when the engine died, or hung and was killed; the value says which."""
        engine = self.engine
        assert engine
        hanging = asyncio.create_task(
            until_hung(
                engine.ask,
                lambda: processor_seconds(zygote.engine_processes()),
                BUSY_SECONDS_ON_CPU if engine.on_cpu else BUSY_SECONDS,
                self._tell_of_silence,
            )
        )
        try:
            while not engine.dead:
                if hanging.done():
                    silence = hanging.result()
                    await asyncio.to_thread(self._kill_hung)
                    return f"has not answered for {silence.seconds:.0f} s"
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await cancelled(hanging)
        return "stopped unexpectedly"

    async def _tell_of_silence(self, silent: bool) -> None:
        name = self.prepared.name
        message = f"{name} does not answer now." if silent else f"{name} is ready."
        hint = "It is restarted if that lasts." if silent else ""
        await self._lifecycle.update(message=message, hint=hint, stalled=silent)

    def _kill_hung(self) -> None:
        states = {pid: state(pid) for pid in zygote.engine_processes()}
        log.error("The engine hangs; its processes and their states: %s", states)
        zygote.abort()

    def _count_death(self) -> int:
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - _DEATH_WINDOW_SECONDS:
            self._deaths.popleft()
        return len(self._deaths)
