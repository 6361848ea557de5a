"""Runs one step's commands with their output in one log file, and can end all that runs.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandbox.errors import SandboxError

# What uv, pip and apt say when a server or the way to it failed, and a new try may go well.
NETWORK_TROUBLE = re.compile(
    r"error sending request|connection|timed? ?out|dns|temporary failure|could not resolve"
    r"|failed to (download|fetch|extract)|incomplete|broken pipe|\b(429|50[0234])\b",
    re.IGNORECASE,
)
# With these words besides, a new try ends the same way: uv says "Failed to download" of them too.
OWN_TROUBLE = re.compile(
    r"hash mismatch|do not match the hashes|no space left|permission denied|read-only file system",
    re.IGNORECASE,
)
PAUSES_S = (2.0, 10.0)
REASON_LINES = 5


class CommandFailed(Exception):
    """A command ended with an exit status other than 0."""

    def __init__(self, command: Sequence[str], status: int, output: str) -> None:
        super().__init__(f"{command[0]} ended with {status}")
        self.output = output

    @property
    def reason(self) -> str:
        """The lines of the command's output that say why: uv's error, or else the last."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        errors = [number for number, line in enumerate(lines) if line.startswith("error:")]
        said = lines[errors[-1] :][:REASON_LINES] if errors else lines[-REASON_LINES:]
        return "\n".join(said) or str(self)

    @property
    def is_of_the_network(self) -> bool:
        """True when a server or the way to it failed, so that a new try may go well."""
        found = NETWORK_TROUBLE.search(self.output)
        return found is not None and not OWN_TROUBLE.search(self.output)


class Commands:
    """The commands of one step, run one after another; ``log`` gets all they print."""

    def __init__(self, log: Path, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self.log = log
        self._pauses_s = pauses_s
        self._running: subprocess.Popen[str] | None = None
        self._ended = threading.Event()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")

    def run(
        self,
        command: Sequence[str],
        on_line: Callable[[str], None] = lambda line: None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Run ``command`` and return what it printed; raises ``CommandFailed``."""
        lines = []
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            if self._ended.is_set():
                raise CommandFailed(command, 1, "stopped")
            try:
                self._running = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    env=env,
                    cwd=cwd,
                )
            except OSError as error:
                log.write(f"{error}\n")
                raise CommandFailed(command, 127, str(error)) from None
            with self._running as process:
                assert process.stdout
                for line in process.stdout:
                    log.write(line)
                    log.flush()
                    lines.append(line)
                    on_line(line.rstrip())
        output = "".join(lines)
        if process.returncode:
            raise CommandFailed(command, process.returncode, output)
        return output

    def run_with_retries(
        self,
        command: Sequence[str],
        on_line: Callable[[str], None] = lambda line: None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Like ``run``, and once more after each pause when the network was the trouble."""
        for pause_s in self._pauses_s:
            try:
                return self.run(command, on_line, env)
            except CommandFailed as error:
                if self._ended.is_set() or not error.is_of_the_network:
                    raise
                on_line(f"trying again in {pause_s:.0f} s: {error.reason.splitlines()[-1]}")
                time.sleep(pause_s)
        return self.run(command, on_line, env)

    def end(self) -> None:
        """End the running command and refuse to start another; for Ctrl-C."""
        self._ended.set()
        if self._running and self._running.poll() is None:
            self._running.terminate()


def explain(error: CommandFailed, what: str, log: Path) -> SandboxError:
    """The failure of ``what`` as people read it: the reason, and where the whole log is."""
    why, todo = "", "Run it again"
    if error.is_of_the_network:
        why = ", because a server or the network failed"
        todo = "Check the network, then run the same command again"
    elif re.search("no space left", error.output, re.IGNORECASE):
        why = ", because the disk is full"
        todo = "Free some space, then run the same command again"
    # On a line of its own: the page, which is public, shows the first line.
    return SandboxError(f"{what}{why}:\n{error.reason}", f"{todo}; the whole log is {log}")
