"""`make soak MINUTES=30`: mixed load on the real service, and what it costs over time.

Ends with 1 when an answer was a 5xx, the engine was restarted, or requests are left at the end; of
30 minutes or more also when memory grew by more than 1% an hour.
"""

from __future__ import annotations

import asyncio
import collections
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.process.api_service import GUIDE, ApiService, serving
from tests.process.hostile import BODIES

CLIENTS = 48
SAMPLE_SECONDS = 5.0
# Counted as a status of its own: a connection that broke before its answer was whole.
BROKEN = 599
# Of a model with four matrices in each layer: 4 x 320 is more than 1,024.
DIFFERENT_PROMPTS = 320
# What imports, caches and arenas take first is no leak.
WARM_UP = 0.3


def main() -> int:
    """Print figures; 1 when something was lost."""
    minutes = float(os.environ.get("MINUTES") or 30)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as service:
        if service.wait_for("ready")["state"] != "ready":
            raise SystemExit(service.tell())
        asyncio.run(warm_up(service))
        answers, samples = asyncio.run(load(service, minutes * 60))
        status, metrics = service.status(), httpx.get(f"{service.url}/metrics").text
    after = [s for s in samples if s.seconds >= samples[-1].seconds * WARM_UP]
    whole = growth(after, [s.memory for s in after])
    files = [s.files for s in after]
    left = [
        line
        for line in metrics.splitlines()
        if line.startswith(("vllm:num_requests_running", "vllm:kv_cache_usage_perc"))
    ]
    print(f"{minutes:g} minutes, {CLIENTS} clients; answers: {dict(sorted(answers.items()))}")
    for name, values in {
        "memory": [s.memory for s in after],
        "of which the launcher has": [s.launcher for s in after],
    }.items():
        mean = statistics.fmean(values)
        print(f"{name} {mean / 1e6:.0f} MB, {100 * growth(after, values):+.2f}% per hour")
    print(f"open files {min(files)} to {max(files)}, at the end {files[-1]}")
    print(f"restarts {status['restarts']}, requests left {status['requests_running']}")
    print("\n".join(left))
    # What a client ends by itself has no status.
    bad = [code for code in answers if code >= 500]
    idle = all(float(line.rsplit(" ", 1)[1]) == 0 for line in left)
    # In a short run the warm-up is most of it.
    leaks = minutes >= 30 and whole > 0.01
    lost = bad or leaks or status["restarts"] or status["requests_running"] or not idle
    return 1 if lost else 0


class Sample(NamedTuple):
    """What the service has after ``seconds``: bytes of memory and open files of all processes."""

    seconds: float
    memory: int
    files: int
    # Bytes of memory.
    launcher: int


def growth(samples: list[Sample], values: list[int]) -> float:
    """How much ``values`` grow an hour, as a part of their mean."""
    hours = [s.seconds / 3600 for s in samples]
    return statistics.linear_regression(hours, values).slope / statistics.fmean(values)


async def warm_up(service: ApiService) -> None:
    """Fill what is bounded, and would take the whole soak to be full.

    On a processor oneDNN keeps 1,024 of the programs that it makes, one for each matrix of the
    model and number of tokens at once (ONEDNN_PRIMITIVE_CACHE_CAPACITY): hundreds of megabytes.
    """
    async with httpx.AsyncClient(base_url=service.url, timeout=600) as client:
        for words in range(1, DIFFERENT_PROMPTS + 1):
            # No two with the same beginning: what was seen before is not computed again.
            prompt = f"{words} " + "sandbox " * words
            body = {"model": GUIDE, "prompt": prompt, "max_tokens": 1}
            (await client.post("/v1/completions", json=body)).raise_for_status()


async def load(
    service: ApiService, seconds: float
) -> tuple[collections.Counter[int], list[Sample]]:
    """Ask in many ways at once for ``seconds``; answers by status, and samples."""
    answers: collections.Counter[int] = collections.Counter()
    samples: list[Sample] = []
    begun = time.monotonic()
    limits = httpx.Limits(max_connections=CLIENTS + 2)
    async with httpx.AsyncClient(base_url=service.url, timeout=600, limits=limits) as client:

        async def ask(chance: random.Random) -> None:
            while time.monotonic() < begun + seconds:
                try:
                    answers[await _one(client, chance)] += 1
                except httpx.TransportError as error:
                    print(f"after {time.monotonic() - begun:.0f} s: {error!r}", flush=True)
                    answers[BROKEN] += 1

        async def sample() -> None:
            while time.monotonic() < begun + seconds:
                pids = await asyncio.to_thread(service.program.living)
                memory, files = await asyncio.to_thread(memory_and_files, pids)
                own, _ = await asyncio.to_thread(memory_and_files, [service.program.process.pid])
                samples.append(Sample(time.monotonic() - begun, memory, files, own))
                await asyncio.sleep(SAMPLE_SECONDS)

        await asyncio.gather(sample(), *(ask(random.Random(i)) for i in range(CLIENTS)))
        # So that the engine's gauges tell of now.
        await client.post("/v1/chat/completions", json=_body(8))
    return answers, samples


async def _one(client: httpx.AsyncClient, chance: random.Random) -> int:
    """One request of a kind that ``chance`` chooses; its status, 0 when we left before its end."""
    kind = chance.random()
    url = "/v1/chat/completions"
    if kind < 0.02:
        body = chance.choice([b for b in BODIES.values() if len(b) < 1_000_000])
        headers = {"Content-Type": "application/json"}
        return (await client.post(url, content=body, headers=headers)).status_code
    if kind < 0.05:
        return (await client.get(chance.choice(["/status", "/metrics", "/v1/models"]))).status_code
    tokens = chance.choice([1, 16, 64, 300])
    if kind < 0.35:
        return (await client.post(url, json=_body(tokens))).status_code
    async with client.stream("POST", url, json=_body(tokens, stream=True)) as answer:
        async for _ in answer.aiter_lines():
            if kind > 0.9:
                # The client goes away.
                return 0
        return answer.status_code


def _body(tokens: int, **more: object) -> dict[str, object]:
    question = {"role": "user", "content": "Tell me about the sandbox."}
    body = {"model": GUIDE, "messages": [question], "max_tokens": tokens, "ignore_eos": True}
    return body | more


def memory_and_files(pids: list[int]) -> tuple[int, int]:
    """The bytes of memory and the open files of ``pids``, shared memory counted once."""
    memory = files = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            files += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
        memory += int(rollup.split("Pss:")[1].split()[0]) * 1024
    return memory, files


if __name__ == "__main__":
    sys.exit(main())
