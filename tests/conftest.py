"""What every test run says at its end."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tiers that ``make test`` could not run, where the reader looks."""
    left_out = os.environ.get("AI_SANDBOX_TIERS_LEFT_OUT")
    if left_out:
        terminalreporter.section("tiers left out")
        terminalreporter.write_line(left_out)
