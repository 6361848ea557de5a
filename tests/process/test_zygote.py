"""What is asked of the zygote by the launcher, apart from engine processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.process.api_service import COMMAND

PROGRAM = """
import os
from sandbox.engine import zygote
from sandbox.engine.plugin import LAUNCHER_PID

def main():
    os.environ[LAUNCHER_PID] = str(os.getpid())
    zygote.start()
    assert zygote.usable()
    print("answer", zygote.call(lambda: (os.getppid() != launcher, 6 * 7)))
    try:
        zygote.call(lambda: 1 / 0)
    except RuntimeError as error:
        print("error", str(error).splitlines()[-1])
    try:
        zygote.call(lambda: os._exit(3))
    except RuntimeError as error:
        print("error", error)

launcher = os.getpid()
if __name__ == "__main__":
    main()
"""


def test_a_question_is_answered_by_a_fork_that_has_vllm_already(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [str(COMMAND.parent / "python"), str(program)], capture_output=True, text=True, timeout=300
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("answer", "error"))]
    assert lines == [
        "answer (True, 42)",
        "error ZeroDivisionError: division by zero",
        "error Error raised in subprocess:",
    ], done.stderr
