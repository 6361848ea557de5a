"""The two servers that are compared: ours, and vLLM's own of the same wheel with the same flags."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from sandbox.bench.load import Target
from sandbox.engine.arguments import compose
from sandbox.host.hardware import nvidia_gpus
from sandbox.models.plan.chosen import plan_for
from sandbox.models.source import LocalModel, resolve
from sandbox.settings import Settings
from tests.process.api_service import COMMAND, GUIDE, environment, free_port
from tests.process.processes import Program, running

PYTHON = COMMAND.parent / "python"
# A folder with a model for a machine with a GPU, in place of the guide.
MODEL = os.environ.get("MODEL") or GUIDE
# Both get as many places as the largest crowd needs, and room for it in the KV cache.
FLAGS = os.environ.get("FLAGS") or "--kv-cache-memory-bytes 2147483648"
EXTRA = f"--max-num-seqs 512 {FLAGS}"
_START_S = 300.0
NAMES = ("ours", "stock")


@dataclass
class Server:
    """A server under measurement; ``began`` is when its process was started."""

    name: str
    program: Program
    port: int
    began: float

    @property
    def target(self) -> Target:
        """Where its chats are asked."""
        return Target("127.0.0.1", self.port)

    @property
    def process(self) -> psutil.Process:
        """The process that answers HTTP."""
        return psutil.Process(self.program.process.pid)

    def cpu_seconds(self) -> float:
        """What that process has computed so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def answers(self, path: str) -> bool:
        """True when ``path`` is answered with 200."""
        assert self.program.process.poll() is None, self.program.output[-4000:]
        with _asked(self.port, "GET", path) as answer:
            return answer is not None and answer.status == 200

    def wait_for(self, path: str) -> float:
        """Wait until ``path`` is answered with 200; the seconds since the start."""
        while not self.answers(path):
            assert time.monotonic() - self.began < _START_S, self.program.output[-4000:]
            time.sleep(0.02)
        return time.monotonic() - self.began

    def first_token(self, since: float | None = None) -> float:
        """Ask until a stream has a first text; the seconds from ``since`` or the start to it."""
        messages = [{"role": "user", "content": "Hello"}]
        body = json.dumps({"model": MODEL, "messages": messages, "stream": True})
        since = self.began if since is None else since
        while True:
            assert time.monotonic() - since < _START_S, self.program.output[-4000:]
            with _asked(self.port, "POST", "/v1/chat/completions", body) as answer:
                if answer and answer.status == 200:
                    for line in answer:
                        if b'"content":"' in line and b'"content":""' not in line:
                            return time.monotonic() - since
            time.sleep(0.02)

    def engine(self) -> int:
        """The process id of its EngineCore."""
        if self.name == "ours":
            status = httpx.get(f"http://127.0.0.1:{self.port}/status").json()
            return int(status["details"]["engine_pids"][0])
        [found] = [c.pid for c in self.process.children() if "EngineCor" in c.name()]
        return found

    def stop(self) -> None:
        """End it as a person does, and all that it leaves."""
        started = []
        if self.program.process.poll() is None:
            # vLLM's processes write their titles over the environment by which others are found.
            started = self.process.children(recursive=True)
            self.program.process.send_signal(signal.SIGTERM)
            self.program.process.wait(60)
        _, left = psutil.wait_procs(started, timeout=10)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def flags(folder: Path) -> list[str]:
    """What our launcher gives the engine for the model."""
    given = {"MODEL_ID": MODEL, "MODELS_DIR": folder / "models", "VLLM_EXTRA_ARGS": EXTRA}
    settings = Settings.model_validate(given)
    model = resolve(MODEL, None)
    assert isinstance(model, LocalModel)
    return compose(settings, model, plan_for(model, settings), cpu=not nvidia_gpus())


@contextlib.contextmanager
def started(name: str, folder: Path) -> Iterator[Server]:
    """A server that has just been started; it ends with the block."""
    port = free_port()
    settings = environment(
        folder, MODEL_ID=MODEL, API_PORT=str(port), VLLM_EXTRA_ARGS=EXTRA, HF_HUB_OFFLINE="1"
    )
    if name == "ours":
        command = [str(COMMAND), "serve"]
    else:
        module = "vllm.entrypoints.openai.api_server"
        command = [str(PYTHON), "-m", module, *flags(folder), "--host", "127.0.0.1"]
        command += ["--port", str(port)]
    began = time.monotonic()
    with running(command, folder, {**settings, **_shared(folder)}) as program:
        server = Server(name, program, port, began)
        try:
            yield server
        finally:
            server.stop()


def _shared(folder: Path) -> Mapping[str, str]:
    """The caches of both are the same, warm ones; neither tells anybody of it."""
    cache = {"VLLM_CACHE_ROOT": str(folder / "vllm"), "VLLM_NO_USAGE_STATS": "1"}
    return {**cache, "PYTHONDONTWRITEBYTECODE": "", "PATH": os.environ["PATH"]}


@contextlib.contextmanager
def _asked(
    port: int, method: str, path: str, body: str | None = None
) -> Iterator[http.client.HTTPResponse | None]:
    """The answer; None while nobody listens.

    Asked fifty times a second beside a start: other HTTP clients would take a core of two.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException):
        answer = None
    try:
        with contextlib.suppress(OSError, http.client.HTTPException):
            yield answer
    finally:
        connection.close()
