"""One client's many requests do not keep another one's few waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sandbox.api.fairness import Gate


def run(check: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(check())  # type: ignore[arg-type]


def test_a_client_alone_gets_its_share_at_once_and_the_rest_waits() -> None:
    async def check() -> None:
        gate = Gate(places=4, share=3, room=100)
        turns = [gate.enter("greedy") for _ in range(5)]
        assert [turn is None for turn in turns] == [True, True, True, False, False]
        assert gate.waiting == 2

    run(check)


def test_another_client_finds_a_free_place_beside_a_greedy_one() -> None:
    async def check() -> None:
        gate = Gate(places=4, share=3, room=100)
        for _ in range(50):
            gate.enter("greedy")
        assert gate.enter("modest") is None

    run(check)


def test_a_free_place_goes_to_who_has_the_fewest() -> None:
    async def check() -> None:
        gate = Gate(places=4, share=4, room=100)
        for _ in range(4):
            gate.enter("greedy")
        again = gate.enter("greedy")
        modest = gate.enter("modest")
        assert again and modest
        gate.leave("greedy")
        assert modest.done()
        assert not again.done()

    run(check)


def test_equals_take_turns() -> None:
    async def check() -> None:
        gate = Gate(places=1, share=1, room=100)
        assert gate.enter("first") is None
        turns = {f"{client} {i}": gate.enter(client) for i in range(3) for client in ("a", "b")}
        served, inside = [], "first"
        for _ in turns:
            gate.leave(inside)
            (name,) = [n for n, turn in turns.items() if turn and turn.done() and n not in served]
            served.append(name)
            inside = name[0]
        assert served == ["a 0", "b 0", "a 1", "b 1", "a 2", "b 2"]

    run(check)


def test_who_stands_for_many_may_have_all_places() -> None:
    async def check() -> None:
        gate = Gate(places=4, share=1, room=100)
        assert all(gate.enter("page", many=True) is None for _ in range(4))

    run(check)


def test_too_many_waiting_are_refused_and_others_still_find_room() -> None:
    async def check() -> None:
        gate = Gate(places=1, share=1, room=10)
        gate.enter("greedy")
        for _ in range(5):
            assert gate.enter("greedy")
        with pytest.raises(asyncio.QueueFull):
            gate.enter("greedy")
        assert gate.enter("modest")
        assert gate.waiting == 6

    run(check)


def test_who_gives_up_loses_nothing_for_the_others() -> None:
    async def check() -> None:
        gate = Gate(places=1, share=1, room=10)
        gate.enter("a")
        gone, stays = gate.enter("b"), gate.enter("c")
        assert gone and stays
        gone.cancel()
        # In the same moment, before the loop has told anybody.
        gate.leave("a")
        assert stays.done()
        await asyncio.sleep(0)
        assert gate.waiting == 0
        gate.leave("c")
        assert gate.enter("d") is None

    run(check)


def test_more_places_are_handed_out_at_once() -> None:
    async def check() -> None:
        gate = Gate(places=1, share=1, room=10)
        gate.enter("a")
        turn = gate.enter("a")
        assert turn
        gate.places = gate.share = 2
        gate.hand_out()
        assert turn.done()

    run(check)
