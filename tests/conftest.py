"""What holds for every test: the environment it leaves, and what a run says at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """No test passes on what vLLM writes into its process's environment, such as LD_PRELOAD."""
    before = dict(os.environ)
    try:
        return (yield)
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tiers that ``make test`` could not run, where the reader looks."""
    left_out = os.environ.get("AI_SANDBOX_TIERS_LEFT_OUT")
    if left_out:
        terminalreporter.section("tiers left out")
        terminalreporter.write_line(left_out)
