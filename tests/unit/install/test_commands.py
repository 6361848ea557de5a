"""Running one step's commands: what is logged, what is tried again, what people read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.install.commands import CommandFailed, Commands, explain


def script(tmp_path: Path, text: str) -> list[str]:
    """A command that says ``text`` and fails, and counts its runs in the file ``runs``."""
    return ["sh", "-c", f"echo x >> {tmp_path}/runs; echo '{text}'; exit 1"]


def runs(tmp_path: Path) -> int:
    return len((tmp_path / "runs").read_text().splitlines())


def test_the_log_holds_the_command_and_its_output(tmp_path: Path) -> None:
    commands = Commands(tmp_path / "log")
    assert commands.run(["echo", "word"]) == "word\n"
    assert (tmp_path / "log").read_text() == "$ echo word\nword\n"


@pytest.mark.parametrize(
    "text",
    [
        "error: Failed to fetch: http://somewhere",
        "error sending request for url",
        "Connection reset by peer",
        "operation timed out",
        "HTTP status server error (503 Service Unavailable)",
    ],
)
def test_network_trouble_is_tried_again(tmp_path: Path, text: str) -> None:
    commands = Commands(tmp_path / "log", pauses_s=(0.0, 0.0))
    with pytest.raises(CommandFailed):
        commands.run_with_retries(script(tmp_path, text))
    assert runs(tmp_path) == 3


@pytest.mark.parametrize(
    "text",
    [
        "error: No solution found",
        "error: Failed to download torch\n  cause: Hash mismatch for torch",
        "error: Failed to extract torch\n  cause: No space left on device (os error 28)",
    ],
)
def test_another_failure_is_not_tried_again(tmp_path: Path, text: str) -> None:
    commands = Commands(tmp_path / "log", pauses_s=(0.0, 0.0))
    with pytest.raises(CommandFailed):
        commands.run_with_retries(script(tmp_path, text))
    assert runs(tmp_path) == 1


def test_nothing_starts_after_the_end(tmp_path: Path) -> None:
    commands = Commands(tmp_path / "log")
    commands.end()
    with pytest.raises(CommandFailed):
        commands.run(["touch", str(tmp_path / "made")])
    assert not (tmp_path / "made").exists()


def test_a_failure_gives_the_last_lines_and_the_log(tmp_path: Path) -> None:
    failure = CommandFailed(["uv"], 2, "much\nbefore\na\nb\nc\nd\nNo solution found\n")
    error = explain(failure, "The environment could not be made", tmp_path / "api.log")
    assert error.message.startswith("The environment could not be made:\na\n")
    assert error.message.endswith("No solution found")
    assert str(tmp_path / "api.log") in error.hint


def test_the_reason_begins_where_uv_says_error(tmp_path: Path) -> None:
    output = (
        "Resolved\nerror: Failed to download `a`\n  cause: Hash mismatch\n\n" + "  sha256:0\n" * 9
    )
    reason = CommandFailed(["uv"], 2, output).reason
    assert reason.startswith("error: Failed to download `a`\ncause: Hash mismatch\n")
    assert len(reason.splitlines()) == 5


@pytest.mark.parametrize(
    ("output", "why", "todo"),
    [
        ("Failed to download torch: connection reset", "the network failed", "Check the network"),
        ("Failed to extract torch: No space left on device", "the disk is full", "Free some space"),
        ("Failed to download torch: Hash mismatch", "could not be made:", "Run it again"),
    ],
)
def test_the_first_line_of_a_failure_says_why(
    tmp_path: Path, output: str, why: str, todo: str
) -> None:
    error = explain(CommandFailed(["uv"], 2, output), "It could not be made", tmp_path / "log")
    assert why in error.message.splitlines()[0]
    assert error.hint.startswith(todo)


def test_a_program_that_is_not_there_is_a_failure_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="not-there"):
        Commands(tmp_path / "log").run(["not-there"])
