"""From the start of stackscript.sh to the first answer, in a container, and a picture of the steps.

``python -m tests.measure_install [--cold] [--picture FILE]``. Needs what tests/systemd needs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from sandbox.paths import Box
from tests.systemd.boxes import box
from tests.systemd.conftest import API, PAGE

INSTALL_S = 1200
WIDTH, ROW, LEFT = 860, 26, 230


class Clock:
    """Notes when things happened, in seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.moments: dict[str, float] = {}
        self._stop = threading.Event()

    def note(self, name: str) -> None:
        """``name`` happened now, unless it did before."""
        self.moments.setdefault(name, time.monotonic() - self._began)

    def look(self) -> None:
        """Look at both ports until stopped."""
        while not self._stop.wait(0.2):
            for name, url in (("API's port", API), ("chat page's port", PAGE)):
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(url, timeout=5)
                    self.note(f"{name} answers")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{API}/health", timeout=5).status_code == 200:
                    self.note("the model answers")
                if httpx.get(f"{PAGE}/health", timeout=5).status_code == 200:
                    self.note("Open WebUI answers")

    def stop(self) -> None:
        """End ``look``."""
        self._stop.set()


def measure(cold: bool) -> tuple[dict[str, float], dict[str, Any]]:
    """One installation; what happened when, and the installer's own progress at its end."""
    with box() as machine:
        machine.add_source()
        if not cold:
            machine.share_package_cache()
        machine.boot()
        clock = Clock()
        looking = threading.Thread(target=clock.look)
        looking.start()
        try:
            machine.stackscript(INSTALL_S, MODEL_ID="builtin:guide")
        finally:
            clock.stop()
            looking.join()
        clock.note("stackscript.sh ends")
        return clock.moments, json.loads(machine.text(f"cat {Box().progress}"))


def picture(progress: dict[str, Any], offset: float) -> str:
    """An SVG with a bar for each step; ``offset`` is when the installer began, in seconds."""
    steps = [s for s in progress["steps"] if s["seconds"] and s["began_after"] is not None]
    whole = max(offset + s["began_after"] + s["seconds"] for s in steps)
    scale = (WIDTH - LEFT - 80) / whole
    rows = [("stackscript.sh", 0.0, offset)]
    rows += [(s["name"], offset + s["began_after"], s["seconds"]) for s in steps]
    height = ROW * len(rows) + 50
    font = "font-family='system-ui, sans-serif' font-size='13'"
    lines = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' {font}>"]
    lines.append("<rect width='100%' height='100%' fill='#fff'/>")
    for tick in range(0, int(whole) + 1, 30 if whole < 400 else 60):
        x = LEFT + tick * scale
        lines.append(f"<path d='M{x:.1f} 20V{height - 24}' stroke='#ddd'/>")
        lines.append(f"<text x='{x:.1f}' y='{height - 8}' text-anchor='middle'>{tick} s</text>")
    for number, (name, began, seconds) in enumerate(rows):
        y = 20 + number * ROW
        x, width = LEFT + began * scale, max(seconds * scale, 2)
        lines.append(f"<text x='{LEFT - 10}' y='{y + 16}' text-anchor='end'>{name}</text>")
        lines.append(
            f"<rect x='{x:.1f}' y='{y + 4}' width='{width:.1f}' height='16' rx='3' fill='#3b6ea8'/>"
        )
        label = f"{seconds:.0f} s" if seconds >= 1 else ""
        lines.append(f"<text x='{x + width + 5:.1f}' y='{y + 16}'>{label}</text>")
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true", help="with an empty package cache")
    parser.add_argument("--picture", type=Path, help="write the steps as an SVG")
    given = parser.parse_args()
    moments, progress = measure(given.cold)
    for name, seconds in sorted(moments.items(), key=lambda item: item[1]):
        print(f"{seconds:6.1f} s  {name}")
    if given.picture:
        ended = max(s["began_after"] + s["seconds"] for s in progress["steps"] if s["seconds"])
        offset = moments["stackscript.sh ends"] - ended
        given.picture.write_text(picture(progress, max(offset, 0.0)))


if __name__ == "__main__":
    main()
