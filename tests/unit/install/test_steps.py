"""Steps side by side: order, failure, and nothing left running."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install.commands import CommandFailed
from sandbox.install.steps import Context, Runner, Step, StepFailed
from sandbox.install.timeline import Timeline


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(Timeline(tmp_path / "progress.json", "", io.StringIO()), tmp_path / "logs")


def test_a_step_waits_for_what_it_needs(runner: Runner) -> None:
    order = []

    def work(name: str, pause: float = 0) -> Step:
        def run(context: Context) -> bool:
            time.sleep(pause)
            order.append(name)
            return True

        return Step(name, run, ("api",) if name == "check" else ())

    runner.run([work("check"), work("api", 0.1)])
    assert order == ["api", "check"]


def test_steps_without_needs_run_side_by_side(runner: Runner) -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(context: Context) -> bool:
        both.wait()
        return False

    runner.run([Step("api", meet), Step("ui", meet)])


def test_only_what_changed_something_is_remembered(runner: Runner) -> None:
    runner.run([Step("api", lambda c: True), Step("ui", lambda c: False)])
    assert runner.changed == {"api"}


def test_a_failure_ends_the_commands_of_the_others_and_starts_no_more(runner: Runner) -> None:
    started = threading.Event()
    ran: list[str] = []

    def never(context: Context) -> bool:
        ran.append(context.key)
        return True

    def long(context: Context) -> bool:
        def follow(line: str) -> None:
            started.set()

        context.commands.run(["sh", "-c", "echo up; exec sleep 100"], on_line=follow)
        return True

    def fail(context: Context) -> bool:
        assert started.wait(10)
        raise SandboxError("It is broken.", "Mend it.")

    after = Step("check", never, ("api",))
    with pytest.raises(StepFailed, match="It is broken") as caught:
        runner.run([Step("ui", long), Step("api", fail), after])
    assert caught.value.key == "api"
    assert caught.value.hint == "Mend it."
    assert ran == []


def test_a_command_that_fails_is_explained_by_its_last_lines(runner: Runner) -> None:
    def fail(context: Context) -> bool:
        context.commands.run(["sh", "-c", "echo no room >&2; exit 3"])
        return True

    with pytest.raises(StepFailed, match="no room") as caught:
        runner.run([Step("packages", fail)])
    assert caught.value.log.read_text().endswith("no room\n")


def test_a_step_that_is_ended_on_purpose_runs_nothing_more(runner: Runner) -> None:
    started = threading.Event()
    ended = []

    def download(context: Context) -> bool:
        try:
            context.commands.run(
                ["sh", "-c", "echo up; exec sleep 100"], on_line=lambda line: started.set()
            )
        except CommandFailed:
            ended.append("model")
        return False

    def services(context: Context) -> bool:
        assert started.wait(10)
        runner.end("model")
        return True

    runner.run([Step("model", download), Step("services", services)])
    assert ended == ["model"]


def test_a_mistake_of_ours_is_a_failed_step_too(runner: Runner) -> None:
    def stumble(context: Context) -> bool:
        raise KeyError("nothing")

    with pytest.raises(StepFailed, match="KeyError") as caught:
        runner.run([Step("api", stumble)])
    assert "report" in caught.value.hint
