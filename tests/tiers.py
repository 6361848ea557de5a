"""What ``make test`` runs: the tiers that can run here, in one pytest, the fast ones first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import system_tools

ROOT = Path(__file__).resolve().parents[1]
# conftest.py repeats it in the summary, where it is read.
LEFT_OUT = "AI_SANDBOX_TIERS_LEFT_OUT"


class Tier(NamedTuple):
    """A folder of tests and what it needs of the machine; tests/README.md says why."""

    folder: str
    programs: tuple[str, ...] = ()
    needs_root: bool = False


TIERS = (
    Tier("tests/unit"),
    Tier("tests/shell", programs=("bash", "curl"), needs_root=True),
    Tier("tests/process"),
    Tier("tests/browser", programs=("chromium",)),
    Tier("tests/container", programs=("mmdebstrap", "systemd-nspawn"), needs_root=True),
    Tier("tests/systemd", programs=("mmdebstrap", "systemd-nspawn"), needs_root=True),
)


def obstacle(tier: Tier, absent: Sequence[str], uid: int) -> str:
    """Why ``tier`` cannot run here, as people read it; empty when it can."""
    if tier.needs_root and uid != 0:
        return "it needs root (sudo make test)"
    lacking = [program for program in tier.programs if program in absent]
    if lacking:
        packages = " ".join(system_tools.PACKAGES[program] for program in lacking)
        return f"it needs {', '.join(lacking)} (sudo apt-get install {packages})"
    return ""


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run the tiers, or only what ``arguments`` name for pytest; the value is the exit code."""
    absent = system_tools.ensure(system_tools.PACKAGES)
    obstacles = {tier.folder: obstacle(tier, absent, os.geteuid()) for tier in TIERS}
    left_out = [f"{folder} was not run: {why}." for folder, why in obstacles.items() if why]
    folders = [folder for folder, why in obstacles.items() if not why]
    pytest = [sys.executable, "-m", "pytest", *(arguments or folders)]
    told = {} if arguments else {LEFT_OUT: "\n".join(left_out)}
    status = subprocess.run(pytest, cwd=ROOT, env={**environment, **told}).returncode
    if status == 0 and left_out and not arguments and environment.get("CI") == "true":
        print("With CI=true a tier that cannot run is a failure.", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
