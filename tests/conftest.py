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


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out for other users what needs root; CI has to be root, as for the tiers."""
    mark = item.get_closest_marker("root")
    if mark and os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail(f"It needs root: {mark.args[0]}. With CI=true that is a failure.")
        pytest.skip(mark.args[0])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tiers that ``make test`` could not run, where the reader looks."""
    left_out = os.environ.get("AI_SANDBOX_TIERS_LEFT_OUT")
    if left_out:
        terminalreporter.section("tiers left out")
        terminalreporter.write_line(left_out)
