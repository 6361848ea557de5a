"""The Makefile: its help, and that settings given on the line are checked."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make in the checkout, without what the make that runs these tests passes on.

    Nothing is installed (PYTHON=true): others may be using the environments of the checkout.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "PYTHON=true", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_help_is_the_default_and_lists_every_target() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = make().stdout
    assert [line.split()[1] for line in shown.splitlines()] == targets.split()


def test_the_reference_page_names_every_target() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    page = (ROOT / "docs/reference/make.md").read_text()
    assert re.findall(r"^## `make (\S+)`", page, re.MULTILINE) == targets.split()


def test_a_mistyped_setting_on_the_line_is_refused() -> None:
    done = make("run", "API_PROT=18000")
    assert done.returncode == 2
    assert "API_PROT (on the command line of make) is not a setting." in done.stderr
    assert "Did you mean API_PORT?" in done.stderr


def test_a_setting_on_the_line_reaches_the_program() -> None:
    done = make("run", "API_PORT=3000x", "MODEL_ID=a b")
    assert "API_PORT is '3000x' (environment)" in done.stderr
