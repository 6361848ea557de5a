"""Measures what the README says of a start; not a test, because machines differ.

``.venv-dev/bin/python -m tests.measure_start [--runs 3]`` starts `ai-sandbox up` with the guide
model and prints, in seconds since the start: when the port first answered, when the first answer
of the model was there, when the chat page answered; and the longest time that /livez took while
the model loaded, which is how long the event loop stood still.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from sandbox.models.guide.topics import read_topics
from tests.process.api_service import COMMAND, GUIDE, environment, free_port
from tests.process.processes import running

_LIMIT = 300.0


def measure(folder: Path) -> dict[str, float]:
    """One start, from nothing running to both pages answering."""
    api, ui = free_port(), free_port()
    settings = environment(folder, API_PORT=str(api), UI_PORT=str(ui), MODEL_ID=GUIDE)
    topic = read_topics()[5]
    body = {"model": GUIDE, "messages": [{"role": "user", "content": topic.question}]}
    found: dict[str, float] = {"longest wait for /livez while loading": 0.0}
    start = time.monotonic()
    with (
        running([str(COMMAND), "up"], folder, settings) as program,
        httpx.Client(timeout=_LIMIT) as client,
    ):
        while len(found) < 4:
            spent = time.monotonic() - start
            assert program.process.poll() is None and spent < _LIMIT, program.output
            try:
                asked = time.monotonic()
                client.get(f"http://127.0.0.1:{api}/livez")
                waited = time.monotonic() - asked
            except httpx.TransportError:
                time.sleep(0.01)
                continue
            found.setdefault("port answers", time.monotonic() - start)
            if "first answer of the model" not in found:
                key = "longest wait for /livez while loading"
                found[key] = max(found[key], waited)
                if client.get(f"http://127.0.0.1:{api}/health").status_code == 200:
                    answer = client.post(f"http://127.0.0.1:{api}/v1/chat/completions", json=body)
                    assert answer.json()["choices"][0]["message"]["content"] == topic.answer
                    found["first answer of the model"] = time.monotonic() - start
            if "chat page answers" not in found and _answers(
                client, f"http://127.0.0.1:{ui}/health"
            ):
                found["chat page answers"] = time.monotonic() - start
            time.sleep(0.05)
    return found


def _answers(client: httpx.Client, url: str) -> bool:
    # One client for all: a new one reads all certificates first, a tenth of a second of CPU.
    try:
        return client.get(url, timeout=0.5).status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Print the median and the range of every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(Path(folder)) for _ in range(runs)]
    for name in found[0]:
        values = [run[name] for run in found]
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:<40} {middle:6.2f} s  ({low:.2f} to {high:.2f}, {runs} runs)")


if __name__ == "__main__":
    main()
