"""Progress where no terminal is: one line per news."""

from __future__ import annotations

import io

from sandbox.install.progress import Board


def test_each_new_step_is_one_line() -> None:
    out = io.StringIO()
    with Board(["a", "bb"], out) as board:
        board.say("a", "fetching 3 packages")
        board.say("a", "fetching 3 packages: torch (180 MiB)")
        board.say("a", "ready", ended=True)
    steps = [line.split(" s  ")[1] for line in out.getvalue().splitlines() if "  a " in line]
    assert steps[-2:] == ["fetching 3 packages", "ready"]


def test_the_last_news_are_printed() -> None:
    out = io.StringIO()
    with Board(["a"], out) as board:
        board.say("a", "failed", ended=True)
    assert out.getvalue().splitlines()[-1].endswith("failed")
