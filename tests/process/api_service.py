"""`ai-sandbox serve` as a program under test, and what tests ask of it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.process.processes import Program, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / ".venv/bin/ai-sandbox"
# What vLLM finds out about a kind of model in a process that imports all of it, it keeps there.
ENGINE_CACHE = ROOT / ".cache/vllm"
GUIDE = "builtin:guide"

# Settings that a developer may have set must not reach the program under test.
_FOREIGN = (
    *("MODEL_ID", "API_KEY", "ACCESS", "VLLM_EXTRA_ARGS", "MAX_MODEL_LEN"),
    *("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"),
)


@dataclass
class ApiService:
    """A running `ai-sandbox serve`; ``url`` is without a slash at its end."""

    program: Program
    url: str

    def status(self) -> dict[str, Any]:
        """The answer of /status."""
        answer: dict[str, Any] = httpx.get(f"{self.url}/status").json()
        return answer

    def wait_for_port(self) -> None:
        """Return when the port answers."""
        wait_until(self._answers, 60, self.tell)

    def wait_for(self, state: str, seconds: float = 300) -> dict[str, Any]:
        """Return the status once ``state``, or ``failed``, is reached."""
        self.wait_for_port()
        wait_until(
            lambda: (
                self.program.process.poll() is not None
                or self.status()["state"] in (state, "failed")
            ),
            seconds,
            self.tell,
        )
        return self.status()

    def ask(self, question: str, seconds: float = 120, **more: Any) -> httpx.Response:
        """Put ``question`` to the model, as a chat that is to be answered within ``seconds``."""
        body = {"model": GUIDE, "messages": [{"role": "user", "content": question}], **more}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=seconds)

    def engine_pids(self) -> list[int]:
        """EngineCore first, then its workers."""
        pids: list[int] = self.status()["details"]["engine_pids"]
        return pids

    def tell(self) -> str:
        """What to print when a test fails."""
        return f"exit {self.program.process.poll()}\n{self.program.output[-6000:]}"

    def _answers(self) -> bool:
        assert self.program.process.poll() is None, self.tell()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/livez").status_code == 200
        return False


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a service whose files lie below ``folder``."""
    clean = {name: "" for name in _FOREIGN if name in os.environ}
    return clean | {
        "MODELS_DIR": str(folder / "models"),
        "UI_DATA_DIR": str(folder / "open-webui"),
        "API_HOST": "127.0.0.1",
        "VLLM_CACHE_ROOT": str(ENGINE_CACHE),
        **settings,
    }


@contextlib.contextmanager
def serving(
    folder: Path, env_file: Path | str = "", under: Sequence[str] = (), **settings: str
) -> Iterator[ApiService]:
    """Run `ai-sandbox serve` with ``settings``, on a free port unless they say which.

    With ``env_file`` it says which model; ``under`` is a command that becomes the service.
    """
    model = {} if env_file else {"MODEL_ID": GUIDE}
    chosen = {**model, "API_PORT": str(free_port()), **settings}
    command = [*under, str(COMMAND), "serve", *(["--env-file", str(env_file)] if env_file else [])]
    with running(command, folder, environment(folder, **chosen)) as program:
        yield ApiService(program, f"http://127.0.0.1:{chosen['API_PORT']}")


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        env={**os.environ, **environment(folder, **settings)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def alive(pid: int) -> bool:
    """True for a process that runs, false for one that ended or is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
