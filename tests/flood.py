"""`make flood`: 5,000 idle and slow connections, then 2,000 requests at once, in figures.

Another client asks one thing after the other meanwhile. Ends with 1 when the service crashed, kept
memory, answered with something else than an answer or 503, or when that client's answers took more
than 1.5 times as long as without the excess (p99). What opens the connections is on this machine,
too: without the excess means that it does the same to a port that takes them and does nothing.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import multiprocessing
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from sandbox.api.connections import HEAD_SECONDS
from sandbox.bench.figures import quantile
from tests.process.api_service import GUIDE, ApiService, free_port, serving
from tests.soak import memory_and_files

CONNECTIONS = 5_000
REQUESTS = 2_000
# Of one client, as many as the model works on together: what it may have anyway.
FAIR_REQUESTS = 192
SECONDS = 30.0
MOST_RATIO = 1.5
MOST_GROWTH = 512e6
GREEDY, OTHER = "the-key-of-a-greedy-client", "the-key-of-another-client"
CHAT = "/v1/chat/completions"


def main() -> int:
    """Print figures; 1 when something was lost."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < CONNECTIONS + 1_000:
        raise SystemExit(f"{hard} open files are too few for {CONNECTIONS} connections: ulimit -Hn")
    lost: list[str] = []
    settings = {"API_KEY": f"{GREEDY},{OTHER}", "API_PORT": str(free_port())}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), **settings) as service,
        # The flood has processes of its own: it must not slow down who measures.
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as flood,
    ):
        if service.wait_for("ready")["state"] != "ready":
            raise SystemExit(service.tell())
        for phase in (connections, requests):
            lost += phase(service, lambda work, *given: flood.submit(work, *given).result)
        status = service.status()
        lost += [f"{status['restarts']} restarts"] * bool(status["restarts"])
    print(f"lost: {'; '.join(lost) or 'nothing'}")
    return 1 if lost else 0


Start = Callable[..., Callable[[], Any]]


def connections(service: ApiService, start: Start) -> list[str]:
    """Idle and slow connections; what was lost."""
    alone, memory = p99(service), memory_of(service)
    elsewhere = free_port()
    sinking = start(sink, elsewhere, SECONDS + 12)
    begun = start(crowd, elsewhere, SECONDS + 10)
    # They take a moment to be there.
    time.sleep(8)
    before = p99(service)
    begun()
    sinking()
    begun = start(crowd, int(service.url.rsplit(":", 1)[1]), SECONDS + 10)
    time.sleep(8)
    during, peak = p99(service), memory_of(service)
    seen = begun()
    print(f"another client's p99 with nothing beside it: {alone:.2f} s")
    print(
        f"{seen['most open']} connections open at once, of {seen['opened']} that were opened: "
        f"{seen['closed']} closed by the service; memory {memory / 1e6:.0f} to {peak / 1e6:.0f} MB"
    )
    return judged("connections", before, during, peak - memory) + (
        [f"only {seen['most open']} connections"] * (seen["most open"] < CONNECTIONS * 0.9)
    )


def requests(service: ApiService, start: Start) -> list[str]:
    """More requests at once than may wait; what was lost."""
    fair = start(ask_at_once, service.url, FAIR_REQUESTS, SECONDS + 5)
    time.sleep(5)
    before, memory = p99(service), memory_of(service)
    fair()
    many = start(ask_at_once, service.url, REQUESTS, SECONDS + 5)
    time.sleep(5)
    during, peak = p99(service), memory_of(service)
    answers = many()
    print(
        f"{REQUESTS} requests at once, again and again: {dict(sorted(answers.items()))}; "
        f"memory {memory / 1e6:.0f} to {peak / 1e6:.0f} MB"
    )
    bad = [f"{n} answers {code}" for code, n in answers.items() if code not in (200, 503)]
    return judged("requests", before, during, peak - memory) + bad


def judged(what: str, before: float, during: float, growth: float) -> list[str]:
    """What was lost of time and memory."""
    print(
        f"another client's p99: {before:.2f} s without, {during:.2f} s with: {during / before:.2f}"
    )
    lost = [f"{what}: {during / before:.1f} times as slow for others"] * (
        during > MOST_RATIO * before
    )
    return lost + [f"{what}: {growth / 1e6:.0f} MB more memory"] * (growth > MOST_GROWTH)


def p99(service: ApiService) -> float:
    """How long all but one in a hundred short answers take for the other client, in seconds."""
    took: list[float] = []
    until = time.monotonic() + SECONDS
    with httpx.Client(headers={"Authorization": f"Bearer {OTHER}"}, timeout=120) as client:
        while time.monotonic() < until:
            begun = time.monotonic()
            client.post(service.url + CHAT, json=body(8)).raise_for_status()
            took.append(time.monotonic() - begun)
    return quantile(sorted(took), 0.99)


def memory_of(service: ApiService) -> float:
    """Bytes of memory of all the service's processes."""
    return memory_and_files(service.program.living())[0]


def body(tokens: int) -> dict[str, object]:
    """A chat of that many tokens."""
    question = {"role": "user", "content": "Tell me about the sandbox."}
    return {"model": GUIDE, "messages": [question], "max_tokens": tokens, "ignore_eos": True}


def crowd(port: int, seconds: float) -> dict[str, int]:
    """Keep connections open for ``seconds``: half of them silent, half slow; what became of them.

    From several addresses, each of which may have half of what the service takes.
    """
    return asyncio.run(_crowd(port, seconds))


async def _crowd(port: int, seconds: float) -> dict[str, int]:
    until = time.monotonic() + seconds
    seen = collections.Counter(opened=0, closed=0, open=0)
    most = 0

    async def one(number: int) -> None:
        nonlocal most
        # Not all in one moment: the kernel's queue is for who comes in between, too.
        await asyncio.sleep(number / 1_000)
        while time.monotonic() < until:
            source = (f"127.0.0.{2 + number % 4}", 0)
            with contextlib.suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
                seen.update(opened=1, open=1)
                most = max(most, seen["open"])
                try:
                    async with asyncio.timeout(until - time.monotonic()):
                        await asyncio.gather(_drip(writer, number % 2 == 1), reader.read())
                finally:
                    seen["open"] -= 1
                    seen["closed"] += time.monotonic() < until
                    writer.close()

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return {"opened": seen["opened"], "closed": seen["closed"], "most open": most}


def sink(port: int, seconds: float) -> None:
    """Take connections for ``seconds``, read nothing, and close them as the service does."""
    until = time.monotonic() + seconds
    kept: collections.deque[tuple[float, socket.socket]] = collections.deque()
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        listener.settimeout(0.1)
        while (now := time.monotonic()) < until:
            while kept and kept[0][0] < now:
                kept.popleft()[1].close()
            with contextlib.suppress(TimeoutError):
                kept.append((now + HEAD_SECONDS, listener.accept()[0]))
    for _, connection in kept:
        connection.close()


async def _drip(writer: asyncio.StreamWriter, slow: bool) -> None:
    """A head of a request that never ends, a byte at a time; nothing from who is idle."""
    if not slow:
        return
    writer.write(b"GET /livez HTTP/1.1\r\nX: ")
    while not writer.is_closing():
        await asyncio.sleep(1)
        writer.write(b"x")
        await writer.drain()


def ask_at_once(url: str, count: int, seconds: float) -> collections.Counter[int]:
    """Have ``count`` requests under way for ``seconds``; the answers by their status."""
    return asyncio.run(_ask_at_once(url, count, seconds))


async def _ask_at_once(url: str, count: int, seconds: float) -> collections.Counter[int]:
    until = time.monotonic() + seconds
    answers: collections.Counter[int] = collections.Counter()
    key = {"Authorization": f"Bearer {GREEDY}"}
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(headers=key, timeout=600, limits=limits) as client:

        async def ask() -> None:
            while time.monotonic() < until:
                answer = await client.post(url + CHAT, json=body(64))
                answers[answer.status_code] += 1
                if answer.status_code == 503:
                    await asyncio.sleep(float(answer.headers["retry-after"]))

        await asyncio.gather(*(ask() for _ in range(count)))
    return answers


if __name__ == "__main__":
    sys.exit(main())
