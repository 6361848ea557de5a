"""The rows of the comparison: what is measured, what it should be, and whether it is."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench import streaming
from tests.bench.starting import Seconds
from tests.bench.streaming import Cost

Costs = dict[str, dict[str, list[Cost]]]


@dataclass(frozen=True)
class Row:
    """One figure of both servers; ``target`` says what holds of the ratio, or of ours."""

    name: str
    ours: float
    stock: float | None
    unit: str
    ratio: float | None
    target: str
    holds: bool

    def as_json(self) -> dict[str, Any]:
        """The row as `build/bench.json` has it."""
        return asdict(self)


def starts(found: Seconds) -> list[Row]:
    """The rows of starts."""
    medians = {row: {n: statistics.median(v) for n, v in by.items()} for row, by in found.items()}
    port = medians["port"]
    return [
        _row("start to the first token of an answer", medians["first"], "s", "<= 0.40"),
        _own("start to an answer of /livez", port["ours"], None, "s", 2.0),
        _row("engine killed to the first token again", medians["again"], "s", "<= 0.40"),
        _row("memory of the API process, ready and idle", _mega(medians["memory"]), "MB", "<= 1.0"),
    ]


def streams(found: Costs) -> list[Row]:
    """The rows of answering; ``found`` by the name of the crowd and the server."""

    def medians(crowd: str, figure: str, scale: float = 1.0) -> dict[str, float]:
        return {n: scale * streaming.median(c, figure) for n, c in found[crowd].items()}

    cpu = {crowd: medians(crowd, "cpu_us_per_token") for crowd in ("64", "256", "512")}
    growth = {name: cpu["512"][name] / cpu["64"][name] for name in cpu["64"]}
    return [
        _row("CPU of the API process a token, 64 streams", cpu["64"], "us", "<= 0.45"),
        _row("CPU of the API process a token, 256 streams", cpu["256"], "us", "<= 0.45"),
        _row("output, 64 streams", medians("64", "tokens_per_second"), "tokens/s", ">= 1.20"),
        _row("output, 256 streams", medians("256", "tokens_per_second"), "tokens/s", ">= 1.20"),
        _limit("output, 64 answers in one piece", medians("whole", "tokens_per_second")),
        _row("TTFT p50, 64 together", medians("64", "ttft_p50", 1e3), "ms", "<= 0.75"),
        _row("TTFT p99, 64 together", medians("64", "ttft_p99", 1e3), "ms", "<= 0.75"),
        _row("TTFT p50, steady arrival", medians("steady", "ttft_p50", 1e3), "ms", "<= 0.75"),
        _row("TTFT p99, steady arrival", medians("steady", "ttft_p99", 1e3), "ms", "<= 0.75"),
        _row("ITL p99, 64 streams", medians("64", "itl_p99", 1e3), "ms", "<= 0.80"),
        _own(
            "CPU a token, 512 streams against 64",
            growth["ours"],
            growth["stock"],
            "times",
            1.25,
        ),
        _row(
            "short chats, not streamed, 64 at a time",
            medians("short", "requests_per_second"),
            "requests/s",
            ">= 1.20",
        ),
    ]


def _row(name: str, both: dict[str, float], unit: str, target: str) -> Row:
    ratio = both["ours"] / both["stock"]
    relation, limit = target.split()
    holds = ratio <= float(limit) if relation == "<=" else ratio >= float(limit)
    return Row(name, both["ours"], both["stock"], unit, ratio, f"ratio {target}", holds)


def _limit(name: str, both: dict[str, float]) -> Row:
    """A row without a target, that says what others can reach."""
    ratio = both["ours"] / both["stock"]
    return Row(name, both["ours"], both["stock"], "tokens/s", ratio, "", True)


def _own(name: str, ours: float, stock: float | None, unit: str, limit: float) -> Row:
    """A row whose target is for our figure alone."""
    ratio = ours / stock if stock else None
    return Row(name, ours, stock, unit, ratio, f"ours <= {limit:g}", ours <= limit)


def _mega(both: dict[str, float]) -> dict[str, float]:
    return {name: value / 1e6 for name, value in both.items()}
