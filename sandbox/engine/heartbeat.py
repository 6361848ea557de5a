"""Whether an engine that is alive still answers: a question that goes through all of it.

A process that is stopped, deadlocked or waits for a GPU that hangs is no dead one: vLLM goes on
calling it healthy. So the launcher asks a question every few seconds. It takes the way of a
request (EngineCore's input thread, its loop between two steps, each worker, and back) and makes no
tokens: it works for every kind of model, counts in no metric, and waits for one step when the
engine is saturated, not for its queue. That is why it is asked under load too, in place of counting
tokens: no token comes out of a long prefill either, and tokens still come out of an engine that
takes no new request. A worker that it wakes looks for more for a moment before it sleeps again
(``wake_ups``), which is what it costs an idle engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

# From an answer to the next question.
QUESTION_SECONDS = 5.0
# Silent for so long while its processes computed nothing: it hangs.
SILENT_SECONDS = 40.0
# Silent for so long whatever they do. Kernels that are compiled during a request take this long,
# and a GPU that hangs can have the process that waits for it compute, too.
BUSY_SECONDS = 120.0
# On a processor a single step takes minutes. Then vLLM itself takes the engine for hung.
BUSY_SECONDS_ON_CPU = 300.0
# A longer turn was our own pause: the machine's, or that of the event loop.
_LONGEST_TURN_SECONDS = 2.0
# Of one core. What waits takes less; a step, or a compiler, takes more.
_COMPUTING = 0.1


class Silence:
    """How long an engine has not answered; told turn by turn."""

    def __init__(self, busy_seconds: float) -> None:
        self._busy_seconds = busy_seconds
        self.seconds = 0.0
        self._idle_seconds = 0.0

    def add(self, seconds: float, computed: float) -> None:
        """Count a turn in which no answer came and the processes used ``computed`` seconds."""
        seconds = min(seconds, _LONGEST_TURN_SECONDS)
        self.seconds += seconds
        self._idle_seconds = (
            0.0 if computed > _COMPUTING * seconds else self._idle_seconds + seconds
        )

    @property
    def stalled(self) -> bool:
        """True once it is long enough to tell people of it."""
        return self.seconds >= SILENT_SECONDS

    @property
    def hung(self) -> bool:
        """True once it cannot be work any more."""
        return self._idle_seconds >= SILENT_SECONDS or self.seconds >= self._busy_seconds


async def until_hung(
    ask: Callable[[], Awaitable[object]],
    processor_seconds: Callable[[], float],
    busy_seconds: float,
    tell: Callable[[bool], Awaitable[None]],
) -> Silence:
    """Return when the engine hangs; ends by itself only then.

    ``ask`` returns when the engine has answered, ``processor_seconds`` is what its processes have
    computed so far. ``tell`` is called when the silence grows long (True), and when it ends.
    """
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(QUESTION_SECONDS)
        asking = asyncio.ensure_future(ask())
        silence = Silence(busy_seconds)
        told = False
        try:
            now = clock()
            computed: float | None = None
            while not (await asyncio.wait({asking}, timeout=1))[0]:
                before, now = now, clock()
                computed_before, computed = computed, processor_seconds()
                turn = computed - (computed if computed_before is None else computed_before)
                silence.add(now - before, turn)
                if silence.hung:
                    return silence
                if silence.stalled and not told:
                    told = True
                    await tell(True)
            # Answered, be it with an error: who watches for deaths finds out about that.
            asking.exception()
        finally:
            asking.cancel()
        if told:
            await tell(False)
