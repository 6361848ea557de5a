"""A line chart as SVG: few series over a logarithmic axis, readable on light and dark pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 118, 44, 46
# Told apart by people who see no red or no green, too.
_COLOURS = ("#0f62a8", "#c2570c", "#3f7d20", "#7a3fa0")

Points = Sequence[tuple[float, float]]


def line_chart(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """An SVG of ``series``: points of (x, y), x above 0. ``across`` and ``up`` name the axes."""
    xs = sorted({x for points in series.values() for x, _ in points})
    step = _step(max(y for points in series.values() for _, y in points))
    top = step * math.ceil(max(y for points in series.values() for _, y in points) / step)
    low, high = math.log2(xs[0]), math.log2(xs[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        part = (math.log2(x) - low) / (high - low) if high > low else 0.5
        return (
            _LEFT + part * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM),
        )

    names = ", ".join(series)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}: {escape(names)}</title>",
        '<rect width="100%" height="100%" rx="6" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="600" fill="#1c2530">'
        f"{escape(title)}</text>",
    ]
    for number in range(round(top / step) + 1):
        _, y = place(xs[0], number * step)
        lines.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#dfe4ea"/>')
        lines.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#4a5561">'
            f"{number * step:,.10g}</text>"
        )
    for x in xs:
        left, _ = place(x, 0)
        lines.append(
            f'<text x="{left:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle" '
            f'fill="#4a5561">{x:g}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(
        f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle" fill="#4a5561">'
        f"{escape(across)}</text>"
    )
    lines.append(
        f'<text x="16" y="{_HEIGHT / 2:.0f}" text-anchor="middle" fill="#4a5561" '
        f'transform="rotate(-90 16 {_HEIGHT / 2:.0f})">{escape(up)}</text>'
    )
    ends = _apart([place(*points[-1])[1] for points in series.values()])
    for (name, points), colour, end in zip(series.items(), _COLOURS, ends, strict=False):
        places = [place(x, y) for x, y in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        lines.append(
            f'<text x="{places[-1][0] + 10:.1f}" y="{end + 4:.1f}" font-weight="600" '
            f'fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def stacked(charts: Sequence[str]) -> str:
    """One SVG with ``charts``, one below another."""
    places = [
        chart.replace("<svg ", f'<svg y="{number * _HEIGHT}" height="{_HEIGHT}" ', 1)
        for number, chart in enumerate(charts)
    ]
    height = _HEIGHT * len(charts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">'
    return "".join([head, "\n", *places, "</svg>\n"])


def _step(most: float) -> float:
    """A round distance of grid lines, of which ``most`` takes three to six."""
    rough = most / 4
    power = float(10 ** math.floor(math.log10(rough)))
    return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= rough)


def _apart(heights: list[float], least: float = 15.0) -> list[float]:
    """``heights`` of labels, moved so that none covers another."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = list(heights)
    for before, after in itertools.pairwise(order):
        placed[after] = max(placed[after], placed[before] + least)
    return placed
