"""The lifecycle contract: few named states, one writer, every change one event to all who watch.

The supervisor is the only writer (with ``Serving``, which is its part) until a stop begins, then
the launcher is; all write on the event loop. Watchers (the page, ``/status``, systemd, the journal)
see the same ``Status`` objects in the same order; slow ones skip to the newest.

While another model is made ready beside the one that serves, ``state`` is of the one that serves
and ``next`` of the other. The switch itself is ``draining``, ``loading``, ``ready``, all of it with
``switching``; a model that cannot be loaded then is left in ``next`` as ``failed``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where the service is; a word that a person would use."""

    STARTING = "starting"
    PLANNING = "planning"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Progress:
    """How far a download is, in bytes, bytes per second and seconds; None where unknown."""

    done_bytes: int
    total_bytes: int | None = None
    bytes_per_second: float | None = None

    @property
    def percent(self) -> float | None:
        """0 to 100."""
        return round(100 * self.done_bytes / self.total_bytes, 1) if self.total_bytes else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until done at the present rate."""
        if not self.total_bytes or not self.bytes_per_second:
            return None
        return round((self.total_bytes - self.done_bytes) / self.bytes_per_second, 1)

    def as_json(self) -> dict[str, Any]:
        """As in ``/status``."""
        return dataclasses.asdict(self) | {
            "percent": self.percent,
            "seconds_left": self.seconds_left,
        }


@dataclass(frozen=True)
class Preparation:
    """How far a model is on its way to be loaded; ``failed``: why it did not get there."""

    state: State
    model: str
    message: str
    hint: str = ""
    progress: Progress | None = None
    # As in MODEL_ID; ``model`` is its name in the API.
    model_id: str = ""
    # What the plan says of it.
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As ``next`` in ``/status``."""
        return {
            "state": str(self.state),
            "model": self.model,
            "model_id": self.model_id,
            "message": self.message,
            "hint": self.hint,
            "progress": self.progress.as_json() if self.progress else None,
            "details": self.details,
        }


@dataclass(frozen=True)
class Phase:
    """A state that was passed through, and for how many seconds (None: still in it)."""

    state: State
    seconds: float | None = None


@dataclass(frozen=True)
class Status:
    """All that can be seen of the service at one moment."""

    state: State
    # Unix time at which the state was entered.
    since: float
    model: str
    message: str = ""
    hint: str = ""
    progress: Progress | None = None
    # What is known of the served model: architecture, context_length, ...
    details: dict[str, Any] = field(default_factory=dict)
    phases: tuple[Phase, ...] = ()
    restarts: int = 0
    # Seconds from the start of the process until a model first answered.
    ready_after: float | None = None
    # The model that is to take the place of the one that serves, or that could not.
    next: Preparation | None = None
    # True from when the one model takes no more requests until one answers again.
    switching: bool = False
    # True while the model that serves has not answered the launcher for long.
    stalled: bool = False
    # As in MODEL_ID; ``model`` is its name in the API.
    model_id: str = ""
    # How often the settings were read again, and what came of the last time.
    reloads: int = 0
    notice: str = ""

    def as_json(self) -> dict[str, Any]:
        """As in ``/status``."""
        return {
            "state": str(self.state),
            "since": round(self.since, 3),
            "model": self.model,
            "model_id": self.model_id,
            "message": self.message,
            "hint": self.hint,
            "progress": self.progress.as_json() if self.progress else None,
            "details": self.details,
            "phases": [{"state": str(p.state), "seconds": p.seconds} for p in self.phases],
            "restarts": self.restarts,
            "ready_after_seconds": self.ready_after,
            "next": self.next.as_json() if self.next else None,
            "switching": self.switching,
            "stalled": self.stalled,
            "reloads": self.reloads,
            "notice": self.notice,
        }


class Lifecycle:
    """Holds the present status; ``set`` and ``update`` are for the supervisor alone."""

    def __init__(
        self, model: str, clock: Callable[[], float] = time.time, model_id: str = ""
    ) -> None:
        self._clock = clock
        self._started = clock()
        self._status = Status(
            State.STARTING,
            self._started,
            model,
            f"{model} is starting.",
            phases=(Phase(State.STARTING),),
            model_id=model_id,
        )
        self._changed = asyncio.Condition()
        self._version = 0
        self._listeners: list[Callable[[Status], None]] = []

    @property
    def status(self) -> Status:
        """The newest status."""
        return self._status

    def listen(self, listener: Callable[[Status], None]) -> None:
        """Call ``listener`` with the present status and then at every change."""
        self._listeners.append(listener)
        listener(self._status)

    async def set(self, state: State, message: str, hint: str = "", **changes: Any) -> None:
        """Enter ``state``; progress of the state before is dropped."""
        now = self._clock()
        before = self._status
        phases = before.phases
        if state != before.state:
            if state is State.PLANNING:
                # A new attempt: its phases are its own.
                phases = phases[:1] if before.state is State.STARTING else ()
            elif state is State.LOADING and before.state is State.DRAINING:
                # Another model took the place: what came before was not its way.
                phases = ()
            if phases:
                phases = (
                    *phases[:-1],
                    Phase(phases[-1].state, round(now - before.since, 2)),
                )
            phases = (*phases, Phase(state))
        if state is State.READY and before.ready_after is None:
            changes["ready_after"] = round(now - self._started, 2)
        await self._publish(
            dataclasses.replace(
                before,
                state=state,
                since=now if state != before.state else before.since,
                message=message,
                hint=hint,
                progress=None,
                phases=phases,
                stalled=False,
                **changes,
            )
        )

    async def update(self, **changes: Any) -> None:
        """Change fields without entering another state."""
        await self._publish(dataclasses.replace(self._status, **changes))

    async def _publish(self, status: Status) -> None:
        self._status = status
        self._version += 1
        for listener in self._listeners:
            listener(status)
        async with self._changed:
            self._changed.notify_all()

    async def watch(self) -> AsyncIterator[Status]:
        """The present status, then each newer one; ends after ``stopped``."""
        seen = -1
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._version != seen)  # noqa: B023
                seen, status = self._version, self._status
            yield status
            if status.state is State.STOPPED:
                return
