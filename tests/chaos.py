"""`make chaos`: the engine killed and stopped again and again under load, in figures.

Runs the real service with the guide model. KILLS says how often (50). It ends with 1 when something
was lost: a stream that ended without saying so, a process or shared memory that was left.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.process.api_service import ApiService, alive, serving
from tests.process.hostile import BODIES
from tests.process.processes import shared_memory, wait_until
from tests.process.streams import Stream

STREAMS = 32


def main() -> int:
    """Print a table; 1 when something was lost."""
    kills = int(os.environ.get("KILLS") or 50)
    lost: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        # Five deaths within ten minutes end the service, so each one serves four.
        done = 0
        memory: set[str] = set()
        slowest = 0.0
        while done < kills:
            with serving(Path(folder)) as service:
                begun = time.monotonic()
                if service.wait_for("ready")["state"] != "ready":
                    raise SystemExit(service.tell())
                start = time.monotonic() - begun
                print(f"started in {start:.1f} s", flush=True)
                if not done:
                    lost += hostile(service)
                for number in range(min(4, kills - done)):
                    memory |= shared_memory(service.engine_pids())
                    again, what = kill(service, worker=done % 4 == 3)
                    lost += what
                    done += 1
                    # The later ones wait on purpose.
                    if number == 0:
                        slowest = max(slowest, again / start)
            # What a killed engine has used is freed at the end of the launcher.
            left = memory & set(os.listdir("/dev/shm"))
            lost += [f"shared memory {name} was left" for name in sorted(left)]
    print(f"after a first kill it answered after at most {slowest:.2f} of a normal start")
    lost += ["it took more than 1.2 of a normal start"] * (slowest > 1.2)
    print(f"{kills} kills during {STREAMS} streams each; lost: {'; '.join(lost) or 'nothing'}")
    return 1 if lost else 0


def kill(service: ApiService, worker: bool) -> tuple[float, list[str]]:
    """Kill EngineCore, or a worker, during streams; seconds until it answered, what was lost."""
    before, restarts = service.engine_pids(), service.status()["restarts"]
    streams = [Stream(service, wait=False) for _ in range(STREAMS)]
    for stream in streams:
        stream.wait_for_begin()
    killed = time.monotonic()
    os.kill(before[-1 if worker else 0], signal.SIGKILL)
    wait_until(lambda: service.status()["restarts"] > restarts, 60, service.tell)
    noticed = time.monotonic() - killed
    service.wait_for("ready")
    again = time.monotonic() - killed
    ends = [stream.end()[-2:] for stream in streams]
    told = sum(any('"error"' in line for line in end) for end in ends)
    whole = sum(end[-1:] == ["data: [DONE]"] and '"error"' not in str(end) for end in ends)
    answer = service.ask("Hello").status_code
    print(
        f"{'worker' if worker else 'EngineCore'} killed: noticed after {noticed:.1f} s, answers "
        f"after {again:.1f} s; of {STREAMS} streams {told} told, {whole} had ended before",
        flush=True,
    )
    lost = [f"{STREAMS - told - whole} streams ended without a word"] * (told + whole < STREAMS)
    lost += [f"process {pid} was left" for pid in before if alive(pid)]
    return again, lost + [f"answer {answer} afterwards"] * (answer != 200)


def hostile(service: ApiService) -> list[str]:
    """Send each hostile request once; what was lost."""
    lost = []
    for name, body in BODIES.items():
        begun = time.monotonic()
        headers = {"Content-Type": "application/json"}
        url = f"{service.url}/v1/chat/completions"
        code = httpx.post(url, content=body, headers=headers, timeout=120).status_code
        print(f"{name}: {code} after {time.monotonic() - begun:.2f} s", flush=True)
        lost += [f"{name} was answered with {code}"] * (code >= 500)
    return lost


if __name__ == "__main__":
    sys.exit(main())
