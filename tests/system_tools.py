"""The Debian packages that tests and checks need: found, or installed when we may.

As a program (``python -m tests.system_tools PROGRAM...``) it ends with 1 when one is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

# The program that is looked for, and the package that brings it.
PACKAGES = {
    "bash": "bash",
    "curl": "curl",
    "chromium": "chromium",
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "shellcheck": "shellcheck",
    "faketime": "faketime",
}


def missing(programs: Iterable[str]) -> list[str]:
    """Those of ``programs`` that are not on PATH."""
    return [program for program in programs if shutil.which(program) is None]


def ensure(programs: Iterable[str]) -> list[str]:
    """Install what is missing of ``programs`` when this is root with apt; return what still is."""
    wanted = missing(programs)
    if not wanted or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return wanted
    packages = [PACKAGES[program] for program in wanted]
    print(f"Installing for the tests: {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Another apt of this machine is waited for.
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
    install = [*apt, "install", "--yes", "--no-install-recommends", *packages]
    for command in ([*apt, "update"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"{' '.join(command)} failed:\n{done.stderr}", file=sys.stderr)
    return missing(wanted)


def main() -> int:
    """The command line."""
    absent = ensure(sys.argv[1:])
    for program in absent:
        print(
            f"{program} is missing: install it (sudo apt-get install {PACKAGES[program]}).",
            file=sys.stderr,
        )
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
