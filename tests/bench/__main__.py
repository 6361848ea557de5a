"""`make bench`: our server against vLLM's own, side by side on this machine.

Both serve the built-in guide model with the same flags of the same vLLM, and take turns, so that
what else the machine does hits both; a figure is the median, a ratio that of two medians. Prints
the table and writes build/bench.json; without QUICK=1 also docs/performance.md and its pictures.
MODEL is a folder with another model, for a machine with a GPU, and FLAGS what vLLM needs for two
engines at once; the page stays as it is then.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import check, report, rows, starting, streaming
from tests.bench.servers import MODEL, NAMES, Server, started
from tests.process.api_service import GUIDE

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    starts: int
    times: int
    # For the pictures.
    sweep: tuple[int, ...]
    sweep_times: int
    checks_itself: bool


FULL = Extent(starts=5, times=5, sweep=(1, 4, 16, 128), sweep_times=3, checks_itself=True)
QUICK = Extent(starts=1, times=1, sweep=(), sweep_times=0, checks_itself=False)


def main() -> int:
    """Measure and write; 0 whatever the figures are."""
    extent = QUICK if os.environ.get("QUICK") else FULL
    if MODEL != GUIDE:
        extent = replace(extent, sweep=(), checks_itself=False)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _say(begun, f"{extent.starts} starts of each, and one before that is not counted")
        found = starting.measure(folder, extent.starts)
        costs, agreement = answering(folder, extent, begun)
    table = [*rows.starts(found), *rows.streams(costs)]
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    text = json.dumps([row.as_json() for row in table], indent=2)
    (build / "bench.json").write_text(text + "\n")
    print(report.table(table))
    print(agreement)
    if extent.checks_itself:
        report.write(ROOT / "docs", table, costs, agreement, time.monotonic() - begun)
    _say(begun, "done; the figures are in build/bench.json")
    return 0


def answering(folder: Path, extent: Extent, begun: float) -> tuple[rows.Costs, str]:
    """Both servers side by side, asked in turns; and what another load generator says of one."""
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []
        for name in NAMES:
            server = stack.enter_context(started(name, folder))
            server.first_token()
            servers.append(server)
        _say(begun, "warming up")
        warm = streaming.in_turns(servers, streaming.streams(64), 2)
        capacity = streaming.median(warm["stock"], "tokens_per_second")
        crowds = {str(n): streaming.streams(n) for n in (64, 256, 512)}
        crowds["steady"] = streaming.steady(capacity)
        crowds["short"] = streaming.short_chats()
        crowds["whole"] = streaming.whole()
        times = dict.fromkeys(crowds, extent.times)
        for number in extent.sweep:
            crowds[str(number)] = streaming.streams(number)
            times[str(number)] = extent.sweep_times
        costs: rows.Costs = {}
        for crowd, asked in crowds.items():
            _say(begun, f"{crowd}: {times[crowd]} times each")
            costs[crowd] = streaming.in_turns(servers, asked, times[crowd])
        agreement = ""
        if extent.checks_itself:
            _say(begun, "the load generator beside vLLM's")
            agreement = check.against_vllm(servers[1], folder)
    return costs, agreement


def _say(begun: float, what: str) -> None:
    print(f"{time.monotonic() - begun:6.0f} s  {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
