"""What EngineCore said for one request, said again for others: vLLM's own code from there on.

So two ways to answer can be compared to the byte, which two runs of a model are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

# So many turns of the event loop are enough for a request to do with what it was given.
_TURNS = 40


@dataclass
class Recording:
    """The steps of an engine: of each the outputs, with the choice that each is for."""

    steps: list[list[tuple[int, Any]]] = field(default_factory=list)


@dataclass(frozen=True)
class Play:
    """How a recording is said again."""

    # How many steps come as one, as with speculative decoding.
    together: int = 1
    # After so many an error comes; None: never.
    fails_after: int | None = None
    # The engine's own word that something went wrong, in place of an exception.
    says_error: bool = False

    def of(self, recording: Recording) -> list[list[tuple[int, Any]]]:
        """The steps as they are said."""
        steps = copy.deepcopy(recording.steps)
        # Those of several steps are tensors, which vLLM puts together in the engine.
        single = any(output.new_logprobs is not None for step in steps for _, output in step)
        found: list[list[tuple[int, Any]]] = []
        for number, step in enumerate(steps):
            if single or number % self.together == 0:
                found.append(step)
            else:
                found[-1] = _joined(found[-1], step)
        return found


@contextlib.contextmanager
def recorded(client: Any) -> Iterator[Recording]:
    """What the engine of ``client``, vLLM's AsyncLLM, says meanwhile for the one request of it."""
    recording = Recording()
    processor, core = client.output_processor, client.engine_core
    names: list[str] = []
    process, add = processor.process_outputs, core.add_request_async

    async def add_request_async(request: Any) -> None:
        names.append(request.request_id)
        await add(request)

    def process_outputs(outputs: list[Any], *rest: Any, **more: Any) -> Any:
        # Not what comes late of one before.
        ours = [output for output in outputs if output.request_id in names]
        step = [(names.index(output.request_id), copy.deepcopy(output)) for output in ours]
        recording.steps.append(step)
        return process(outputs, *rest, **more)

    processor.process_outputs, core.add_request_async = process_outputs, add_request_async
    try:
        yield recording
    finally:
        del processor.process_outputs, core.add_request_async


@contextlib.contextmanager
def said_again(client: Any, recording: Recording, play: Play, error: Exception) -> Iterator[Played]:
    """Have the next request answered with ``recording``; ``error`` is how it fails."""
    from vllm.v1.engine import FinishReason
    from vllm.v1.metrics.stats import IterationStats

    processor, core = client.output_processor, client.engine_core
    generate = client.generate
    played = Played()
    steps = play.of(recording)
    choices = 1 + max((choice for step in steps for choice, _ in step), default=0)
    saying: list[asyncio.Task[None]] = []

    async def say() -> None:
        await _turns()
        for number, step in enumerate(steps):
            if number == play.fails_after and not play.says_error:
                processor.propagate_error(error)
                return
            for choice, output in step:
                output.request_id = played.begun[choice]
                if number == play.fails_after:
                    output.finish_reason = FinishReason.ERROR
            outputs = [output for _, output in step]
            statistics = IterationStats()  # type: ignore[no-untyped-call]
            processor.process_outputs(outputs, time.monotonic(), statistics)
            await _turns()

    async def abort_requests_async(ended: list[str]) -> None:
        played.ended += ended

    async def add_request_async(request: Any) -> None:
        played.begun.append(request.request_id)
        if len(played.begun) == choices:
            saying.append(asyncio.ensure_future(say()))

    async def counted(*given: Any, **more: Any) -> AsyncIterator[Any]:
        async for result in generate(*given, **more):
            played.woke += 1
            yield result

    core.add_request_async, client.generate = add_request_async, counted
    core.abort_requests_async = abort_requests_async
    try:
        yield played
    finally:
        del core.add_request_async, core.abort_requests_async, client.generate
        for task in saying:
            task.cancel()


@dataclass
class Played:
    """What became of what was said again."""

    # How many results woke the task of the request.
    woke: int = 0
    # The requests that EngineCore was given, one for each choice, and those it was told to end.
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _joined(first: list[tuple[int, Any]], then: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    found = dict(first)
    for choice, output in then:
        before = found.get(choice)
        if before is None:
            found[choice] = output
        elif before.finish_reason is None:
            before.new_token_ids += output.new_token_ids
            before.finish_reason = output.finish_reason
            before.stop_reason = output.stop_reason
    return sorted(found.items())
