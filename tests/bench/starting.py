"""How long starts take, and how long until a killed engine is replaced."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.bench.servers import NAMES, Server, started

# Imports, caches and garbage of a start have settled by then.
_IDLE_S = 2.0

Seconds = dict[str, dict[str, list[float]]]


def measure(folder: Path, times: int) -> Seconds:
    """Start both in turns, ``times`` each; figures by row and server.

    A first start of each, which fills the caches, is not counted.
    """
    found: Seconds = {
        row: {name: [] for name in NAMES} for row in ("port", "first", "again", "memory")
    }
    for name in NAMES:
        with started(name, folder) as server:
            server.first_token()
    for _ in range(times):
        for name in NAMES:
            for row, value in _one(name, folder).items():
                found[row][name].append(value)
    return found


def _one(name: str, folder: Path) -> dict[str, float]:
    with started(name, folder) as server:
        port = server.wait_for("/livez" if name == "ours" else "/health")
        first = server.first_token()
        time.sleep(_IDLE_S)
        memory = float(server.process.memory_info().rss)
        killed = time.monotonic()
        os.kill(server.engine(), signal.SIGKILL)
        if name == "ours":
            again = _again(server, killed)
        else:
            # It ends by itself; who runs it starts it anew, here without any pause.
            server.program.process.wait(60)
    if name == "stock":
        with started(name, folder) as server:
            again = server.first_token(since=killed)
    return {"port": port, "first": first, "again": again, "memory": memory}


def _again(server: Server, killed: float) -> float:
    while server.answers("/health"):
        time.sleep(0.02)
    return server.first_token(since=killed)
