"""The reason of a failure is found in what the engine's processes print."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sandbox.engine.logs import EngineLog, first_sentence

CRASH = """\
(Worker pid=7) ERROR 11-23 15:20:41 [multiproc_executor.py:906] Traceback (most recent call last):
(Worker pid=7) ERROR 11-23 15:20:41 [multiproc_executor.py:906] ValueError: 9 heads do not fit.
(EngineCore pid=6) ERROR 11-23 15:20:42 [core.py:1] Exception: WorkerProc initialization failed due
RuntimeError: Engine core initialization failed. See root cause above.
"""


def log_of(text: str) -> EngineLog:
    log = EngineLog()
    log._lines.extend(text.splitlines())
    return log


def test_the_root_cause_is_the_error_that_is_not_about_another() -> None:
    assert log_of(CRASH).root_cause() == "9 heads do not fit."


def test_without_an_error_there_is_no_root_cause() -> None:
    assert log_of("INFO all is well\n").root_cause() == ""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("too long.\nmore"), "too long."),
        (
            ValueError(
                "1 error for X\n  Value error, No such architecture. [type=value_error]\n y"
            ),
            "No such architecture.",
        ),
        (ModuleNotFoundError("No module named 'x'"), "No module named 'x'."),
        (RuntimeError(), "RuntimeError."),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, sentence: str) -> None:
    assert first_sentence(error) == sentence


def test_an_old_failure_can_be_forgotten() -> None:
    log = log_of(CRASH)
    log.forget()
    assert log.root_cause() == ""


def test_the_output_of_children_is_passed_on_and_kept() -> None:
    code = (
        "import subprocess, time\n"
        "from sandbox.engine.logs import EngineLog\n"
        "log = EngineLog()\n"
        "with log.capture():\n"
        "    child = subprocess.Popen(['sh', '-c', 'echo out; echo KeyError: gone >&2'])\n"
        "child.wait()\n"
        "while not log.root_cause(): time.sleep(0.01)\n"
        "print('cause', log.root_cause())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ended.stdout == "cause gone.\n"
    assert ended.stderr == "out\nKeyError: gone\n"
