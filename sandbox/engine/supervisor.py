"""From MODEL_ID to a model that answers, and back to one whenever the engine dies.

The only writer of the lifecycle until a stop begins. Runs on the event loop of the launcher; what
blocks runs in daemon threads, so that a stop never waits for a download or a load.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from sandbox.engine import zygote
from sandbox.engine.engine import Engine, EngineDiedError
from sandbox.engine.lifecycle import Lifecycle, Progress, State
from sandbox.engine.logs import EngineLog, first_sentence
from sandbox.errors import ExitCode, SandboxError
from sandbox.models.download import HubUnreachableError, fetch
from sandbox.models.source import HubModel, LocalModel, check_folder, resolve
from sandbox.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

_POLL_SECONDS = 0.2
_MAX_DEATHS = 5
_DEATH_WINDOW_SECONDS = 600.0
_RETRY_SECONDS = (5.0, 15.0, 60.0)


class Supervisor:
    """Owns the engine. ``run`` ends only when the engine died too often, or when cancelled."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle, engine_log: EngineLog) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self._log = engine_log
        self._deaths: collections.deque[float] = collections.deque()
        self.engine: Engine | None = None

    async def run(self) -> ExitCode:
        """Serve until cancelled; the return value is the exit code of a give-up."""
        try:
            return await self._serve(await self._find_model())
        except SandboxError as error:
            log.error("%s %s", error.message, error.hint, exc_info=error.__cause__)
            await self._lifecycle.set(State.FAILED, error.message, error.hint)
        except Exception as error:
            # A mistake of ours would be made again after a restart: explain, do not crash-loop.
            log.exception("Unexpected")
            await self._lifecycle.set(
                State.FAILED,
                f"{self._settings.served_name} could not be started: {first_sentence(error)}",
                "This is a mistake in AI Sandbox; please report it with the log.",
            )
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def _serve(self, model: LocalModel) -> ExitCode:
        """Load ``model`` and replace its engine whenever it dies; ends after too many deaths."""
        name = self._settings.served_name
        deaths = 0
        message = f"{name} is loading."
        while deaths < _MAX_DEATHS:
            await self._lifecycle.set(State.LOADING, message)
            # The first restart is at once; the next ones wait longer and longer.
            await asyncio.sleep(2.0 ** (deaths - 1) - 1 if deaths else 0)
            try:
                await self._load(model)
                await self._until_dead()
            except SandboxError as error:
                if not deaths and not isinstance(error, EngineDiedError):
                    raise
                log.error("%s %s", error.message, error.hint)
            deaths = self._count_death()
            log.error("The engine died (%d times in 10 minutes)", deaths)
            message = f"{name}: the engine stopped unexpectedly and is being restarted."
            await self._lifecycle.set(
                State.LOADING, message, restarts=self._lifecycle.status.restarts + 1
            )
            await self.close()
        await self._lifecycle.set(
            State.FAILED,
            f"{name}: the engine died {deaths} times within 10 minutes.",
            "The log says why. The service is started anew.",
        )
        return ExitCode.FAILURE

    async def close(self) -> None:
        """Stop the engine, or the loading of one."""
        engine, self.engine = self.engine, None
        if engine:
            await engine.close()
        else:
            await asyncio.to_thread(zygote.sweep, 0)

    async def _find_model(self) -> LocalModel:
        settings = self._settings
        name = settings.served_name
        await self._lifecycle.set(State.PLANNING, f"{name} is being looked up.")
        found = await _in_thread(resolve, settings.model_id, settings.model_revision)
        if isinstance(found, LocalModel):
            return found
        await self._lifecycle.set(State.DOWNLOADING, f"{name} is downloading.")
        return await self._download(found)

    async def _download(self, model: HubModel) -> LocalModel:
        settings = self._settings
        loop = asyncio.get_running_loop()
        token = settings.hf_token.get_secret_value() if settings.hf_token else None

        def report(done: int, total: int | None, rate: float | None) -> None:
            asyncio.run_coroutine_threadsafe(self._show_progress(Progress(done, total, rate)), loop)

        def bring() -> Path:
            try:
                settings.models_dir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SandboxError(
                    f"The folder {settings.models_dir} (MODELS_DIR) cannot be made: "
                    f"{error.strerror}.",
                    "Give it to this user, or set MODELS_DIR to another folder.",
                ) from None
            return fetch(model, settings.models_dir, token, report)

        for attempt in range(10**6):
            try:
                folder = await _in_thread(bring)
                return await _in_thread(check_folder, model.model_id, folder)
            except HubUnreachableError as error:
                wait = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                log.warning("%s (next try in %.0f s)", error.message, wait)
                await self._lifecycle.set(State.DOWNLOADING, error.message, error.hint)
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _show_progress(self, progress: Progress) -> None:
        if self._lifecycle.status.state is not State.DOWNLOADING:
            return
        text = f"{self._settings.served_name} is downloading: {describe(progress)}."
        await self._lifecycle.update(message=text, hint="", progress=progress)

    async def _load(self, model: LocalModel) -> None:
        with self._log.capture():
            zygote.restart_if_killed()
        engine = await _in_thread(Engine.start, self._settings, model, self._log)
        await engine.open()
        self.engine = engine
        name = self._settings.served_name
        await self._lifecycle.set(State.READY, f"{name} is ready.", details=engine.details)

    async def _until_dead(self) -> None:
        assert self.engine is not None
        while not self.engine.dead:
            await asyncio.sleep(_POLL_SECONDS)

    def _count_death(self) -> int:
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - _DEATH_WINDOW_SECONDS:
            self._deaths.popleft()
        return len(self._deaths)


def describe(progress: Progress) -> str:
    """Such as ``6.2 of 14.5 GB, about 2 minutes left``."""
    if not progress.total_bytes:
        return f"{progress.done_bytes / 1e9:.1f} GB so far"
    text = f"{progress.done_bytes / 1e9:.1f} of {progress.total_bytes / 1e9:.1f} GB"
    left = progress.seconds_left
    if left is None:
        return text
    if left < 90:
        return f"{text}, about {max(1, round(left))} seconds left"
    return f"{text}, about {round(left / 60)} minutes left"


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run ``work`` in a daemon thread: cancelling the wait does not stop it, ending does."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            # Cancelled meanwhile: nobody waits any more.
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(cast(T, result))

    def run() -> None:
        try:
            result = work(*arguments)
        except BaseException as error:
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, result, None)

    threading.Thread(target=run, name="supervisor-work", daemon=True).start()
    return await future
