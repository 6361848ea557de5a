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


def run(folder: Path, where: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command = [str(COMMAND.parent / "python"), str(program)]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=300)


def test_the_current_directory_is_no_place_for_modules(tmp_path: Path) -> None:
    where = tmp_path / "where"
    where.mkdir()
    for name in ("sandbox", "torch", "multiprocessing"):
        (where / f"{name}.py").write_text("raise SystemExit('of the current directory')")
    done = run(tmp_path, where)
    assert "answer (True, 42)" in done.stdout, done.stderr


def test_a_question_is_answered_by_a_fork_that_has_vllm_already(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("answer", "error"))]
    assert lines == [
        "answer (True, 42)",
        "error ZeroDivisionError: division by zero",
        "error Error raised in subprocess:",
    ], done.stderr
