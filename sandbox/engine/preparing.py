"""From settings to a model that can be loaded: looked up, planned, downloaded; nothing is loaded.

It runs at a start, and beside the model that serves when another one is to take its place.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandbox.engine import zygote
from sandbox.engine.lifecycle import Preparation, Progress, State
from sandbox.engine.threads import in_thread
from sandbox.host.processes import private_bytes
from sandbox.models.download import RETRY_SECONDS, Hub, HubUnreachableError, fetch
from sandbox.models.download.progress import describe
from sandbox.models.plan.chosen import checked
from sandbox.models.plan.decide import Plan
from sandbox.models.source import HubModel, LocalModel, check_folder, resolve
from sandbox.settings import Settings

log = logging.getLogger(__name__)

Show = Callable[[Preparation], Awaitable[None]]


@dataclass(frozen=True)
class Prepared:
    """A model on this machine, and how it is to be loaded."""

    settings: Settings
    model: LocalModel
    plan: Plan | None

    @property
    def name(self) -> str:
        """The model's name in the API."""
        return self.settings.served_name

    @property
    def details(self) -> dict[str, Any]:
        """What the plan says of it."""
        return self.plan.details if self.plan else {}


def first_step(settings: Settings) -> Preparation:
    """What is shown of a preparation when it begins."""
    name = settings.served_name
    looking = f"{name} is being looked up."
    return Preparation(State.PLANNING, name, looking, model_id=settings.model_id)


async def prepare(settings: Settings, show: Show) -> Prepared:
    """Find, plan and download the model of ``settings``, and ``show`` each step.

    Tries again for as long as the hub does not answer. Raises ``SandboxError`` for what another
    try would not change. Cancelled, it stops the download; what has arrived stays.
    """
    step = first_step(settings)
    await show(step)
    found = await in_thread(resolve, settings.model_id, settings.model_revision)
    # Of a repository first: what cannot be served is not downloaded.
    plan = await _plan(found, settings)
    details = plan.details if plan else {}
    if isinstance(found, LocalModel):
        await show(replace(step, details=details))
        return Prepared(settings, found, plan)
    model = await _download(found, settings, show, details)
    return Prepared(settings, model, await _plan(model, settings))


async def _plan(model: LocalModel | HubModel, settings: Settings) -> Plan | None:
    return await in_thread(_checked, model, settings)


def _checked(model: LocalModel | HubModel, settings: Settings) -> Plan | None:
    # The engine that serves now is gone before the model is loaded. Counting what it holds takes
    # the kernel a while.
    return checked(model, settings, private_bytes(zygote.engine_processes()))


async def _download(
    model: HubModel, settings: Settings, show: Show, details: dict[str, Any]
) -> LocalModel:
    name = settings.served_name
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def step(message: str, hint: str = "", progress: Progress | None = None) -> Preparation:
        return Preparation(
            State.DOWNLOADING, name, message, hint, progress, settings.model_id, details
        )

    async def show_progress(progress: Progress) -> None:
        # The last one may arrive late, when the state is another.
        if not stop.is_set():
            so_far = describe(progress.done_bytes, progress.total_bytes, progress.bytes_per_second)
            await show(step(f"{name} is downloading: {so_far}.", progress=progress))

    def report(done: int, total: int | None, rate: float | None) -> None:
        asyncio.run_coroutine_threadsafe(show_progress(Progress(done, total, rate)), loop)

    try:
        await show(step(f"{name} is downloading."))
        folder = await _fetch(
            model, settings, report, stop, lambda e: show(step(e.message, e.hint))
        )
    finally:
        stop.set()
    return await in_thread(check_folder, model.model_id, folder)


async def _fetch(
    model: HubModel,
    settings: Settings,
    report: Callable[[int, int | None, float | None], None],
    stop: threading.Event,
    show_error: Callable[[HubUnreachableError], Awaitable[None]],
) -> Path:
    for attempt in range(10**6):
        try:
            return await in_thread(
                fetch, model, settings.models_dir, Hub.of(settings), report, stop
            )
        except HubUnreachableError as error:
            wait = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
            wait = max(wait, error.retry_after)
            log.warning("%s (next try in %.0f s)", error.message, wait)
            await show_error(error)
            await asyncio.sleep(wait)
    raise AssertionError("unreachable")
