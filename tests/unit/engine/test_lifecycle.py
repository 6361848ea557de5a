"""The lifecycle: what is published, to whom, in which order."""

from __future__ import annotations

import asyncio

from sandbox.engine.lifecycle import Lifecycle, Progress, State, Status


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_phases_carry_their_seconds() -> None:
    async def live() -> Status:
        clock = Clock()
        lifecycle = Lifecycle("m", clock)
        clock.now += 1
        await lifecycle.set(State.PLANNING, "p")
        clock.now += 2
        await lifecycle.set(State.LOADING, "l")
        clock.now += 3
        await lifecycle.set(State.READY, "r")
        return lifecycle.status

    status = asyncio.run(live())
    assert [(p.state, p.seconds) for p in status.phases] == [
        (State.STARTING, 1),
        (State.PLANNING, 2),
        (State.LOADING, 3),
        (State.READY, None),
    ]
    assert status.ready_after == 6


def test_a_listener_hears_every_change_in_order() -> None:
    heard: list[str] = []

    async def live() -> None:
        lifecycle = Lifecycle("m")
        lifecycle.listen(lambda status: heard.append(status.message))
        await lifecycle.set(State.LOADING, "one")
        await lifecycle.update(message="two")

    asyncio.run(live())
    assert heard == ["m is starting.", "one", "two"]


def test_a_slow_watcher_skips_to_the_newest_and_ends_with_stopped() -> None:
    async def live() -> list[State]:
        lifecycle = Lifecycle("m")
        seen = []
        async for status in lifecycle.watch():
            seen.append(status.state)
            if status.state is State.STARTING:
                await lifecycle.set(State.PLANNING, "")
                await lifecycle.set(State.LOADING, "")
            elif status.state is State.LOADING:
                await lifecycle.set(State.STOPPED, "")
        return seen

    assert asyncio.run(live()) == [State.STARTING, State.LOADING, State.STOPPED]


def test_progress_of_an_unknown_size_has_no_percent() -> None:
    assert Progress(5).as_json() == {
        "done_bytes": 5,
        "total_bytes": None,
        "bytes_per_second": None,
        "percent": None,
        "seconds_left": None,
    }
