"""What answering costs, by the number of requests at once: both servers, in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.bench.figures import Figures
from tests.bench.servers import MODEL, Server

# Of what the stock server answers at 64 streams, requests arrive at this part of it.
_STEADY_LOAD = 0.5
# A worker of vLLM goes on looking for work, with a whole core, for a second after the last.
_PAUSE_S = 1.5


@dataclass(frozen=True)
class Crowd:
    """Requests that are asked together: how many, of how many tokens each."""

    requests: int
    at_once: int
    tokens: int
    stream: bool = True
    # Requests a second on average, in place of all at once.
    per_second: float | None = None

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The requests, no two of them with the same beginning."""
        return [
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"{number}: tell me about the sandbox."}],
                "max_tokens": self.tokens,
                "ignore_eos": True,
                "stream": self.stream,
            }
            for number in range(self.requests)
        ]


@dataclass(frozen=True)
class Cost:
    """What a crowd saw, and what its server computed for it."""

    figures: Figures
    cpu_us_per_token: float


def streams(count: int, tokens: int = 128) -> Crowd:
    """So many streams that begin together."""
    return Crowd(count, count, tokens)


def whole() -> Crowd:
    """The answers of 64 streams in one piece: a server has next to nothing to do for a token.

    So fast is the engine, and no server in front of it can be faster.
    """
    return replace(streams(64), stream=False)


def short_chats() -> Crowd:
    """Answers of eight tokens that are not streamed, 64 at a time."""
    return Crowd(512, 64, 8, stream=False)


def steady(capacity: float) -> Crowd:
    """Streams that arrive one by one, at half of what a server can do: ``capacity`` tokens/s."""
    tokens = 64
    return Crowd(160, 160, tokens, per_second=_STEADY_LOAD * capacity / tokens)


def measure(server: Server, crowd: Crowd) -> Cost:
    """Ask ``crowd`` of ``server``, from a process of its own."""
    target = {"host": server.target.host, "port": server.target.port}
    order = {"target": target, "at_once": crowd.at_once, "per_second": crowd.per_second}
    order |= {"bodies": crowd.bodies, "tokens": crowd.tokens}
    before = server.cpu_seconds()
    asked = subprocess.run(
        [sys.executable, "-m", "tests.bench.client"],
        input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True, timeout=300,
    )  # fmt: skip
    spent = server.cpu_seconds() - before
    figures = Figures(**json.loads(asked.stdout))
    assert not figures.errors, f"{server.name}: {figures.errors} errors"
    return Cost(figures, 1e6 * spent / (figures.answers * crowd.tokens))


def in_turns(servers: Sequence[Server], crowd: Crowd, times: int) -> dict[str, list[Cost]]:
    """``crowd`` asked of each server, ``times`` in turns."""
    found: dict[str, list[Cost]] = {server.name: [] for server in servers}
    for _ in range(times):
        for server in servers:
            time.sleep(_PAUSE_S)
            found[server.name].append(measure(server, crowd))
    return found


def median(costs: Sequence[Cost], name: str) -> float:
    """The median of the figure ``name``."""
    return statistics.median(
        cost.cpu_us_per_token if name == "cpu_us_per_token" else getattr(cost.figures, name)
        for cost in costs
    )
