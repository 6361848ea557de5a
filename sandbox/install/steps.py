"""Runs installation steps side by side, each as soon as what it needs is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.install.commands import CommandFailed, Commands, explain
from sandbox.install.timeline import Timeline


@dataclass
class Context:
    """What a step is given: its commands, whose output is its log, and a way to tell."""

    key: str
    commands: Commands
    timeline: Timeline

    def say(self, text: str) -> None:
        """Tell what is being done now."""
        self.timeline.say(self.key, text)

    def progress(self, percent: float) -> None:
        """Tell how far the step is, 0 to 100."""
        self.timeline.progress(self.key, percent)


# True when something was changed.
Work = Callable[[Context], bool]


@dataclass(frozen=True)
class Step:
    """``key`` is one of ``timeline.STEPS``; ``needs`` are keys of steps that must be done."""

    key: str
    work: Work
    needs: tuple[str, ...] = ()


class StepFailed(SandboxError):
    """A step failed; ``key`` says which."""

    def __init__(self, key: str, error: SandboxError, log: Path) -> None:
        super().__init__(error.message, error.hint, error.exit_code)
        self.key = key
        self.log = log


@dataclass
class Runner:
    """Runs steps; ``changed`` has the keys of those that changed something."""

    timeline: Timeline
    logs: Path
    changed: set[str] = field(default_factory=set)
    _running: dict[str, Commands] = field(default_factory=dict)
    _failed: StepFailed | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, steps: Sequence[Step]) -> None:
        """Run all of ``steps``; raises the first ``StepFailed`` after the others have ended."""
        done = {step.key: threading.Event() for step in steps}
        threads = [threading.Thread(target=self._care, args=(step, done)) for step in steps]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            # Ctrl-C or SIGTERM: nothing that a step runs outlives the installer.
            self.end_all()
            raise
        if self._failed:
            raise self._failed

    def end(self, key: str) -> None:
        """End what the step ``key`` runs, and let it run nothing more."""
        commands = self._running.get(key)
        if commands:
            commands.end()

    def end_all(self) -> None:
        """End what all steps run."""
        with self._lock:
            running = list(self._running.values())
        for commands in running:
            commands.end()

    def _care(self, step: Step, done: dict[str, threading.Event]) -> None:
        try:
            for key in step.needs:
                # One that ran before this call counts as done.
                if key in done:
                    done[key].wait()
            with self._lock:
                if self._failed:
                    return
                log = self.logs / f"{step.key}.log"
                context = Context(step.key, Commands(log), self.timeline)
                self._running[step.key] = context.commands
            self._work(step, context)
        finally:
            done[step.key].set()

    def _work(self, step: Step, context: Context) -> None:
        self.timeline.begin(step.key)
        log = context.commands.log
        try:
            changed = step.work(context)
        except SandboxError as error:
            self._fail(StepFailed(step.key, error, log))
        except CommandFailed as error:
            self._fail(StepFailed(step.key, explain(error, str(error), log), log))
        except Exception as error:
            mistake = SandboxError(
                f"{type(error).__name__}: {error}",
                "This is a mistake in AI Sandbox; please report it with the log.",
            )
            mistake.__cause__ = error
            self._fail(StepFailed(step.key, mistake, log))
        else:
            if changed:
                self.changed.add(step.key)
            self.timeline.end(step.key, "done", "done" if changed else "nothing to do")

    def _fail(self, failure: StepFailed) -> None:
        with self._lock:
            first = self._failed is None
            self._failed = self._failed or failure
        if first:
            self.timeline.fail(failure.key, failure.message, failure.hint, failure.log)
            self.end_all()
        else:
            # Ended by us, because another failed.
            self.timeline.end(failure.key, "waiting", "stopped")
