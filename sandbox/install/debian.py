"""Files of the distribution's own packages, without root and without a change to the system.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from sandbox.install.commands import CommandFailed, Commands


def unpack(packages: Sequence[str], scratch: Path, commands: Commands) -> Path:
    """Download those of ``packages`` that the distribution has; return the folder they fill.

    The folder is below ``scratch`` (an empty folder), and empty where there is no apt.
    """
    unpacked = scratch / "unpacked"
    unpacked.mkdir()
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return unpacked
    apt = ["apt-get", "--quiet"]
    for setting, folder in (("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")):
        (scratch / folder / "partial").mkdir(parents=True)
        apt += ["-o", f"{setting}={scratch / folder}"]
    # The user _apt, whom apt hands downloads to when it is root, may not read a private folder.
    apt += ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]
    # One source of several may be out of order; the downloads decide.
    with contextlib.suppress(CommandFailed):
        commands.run_with_retries([*apt, "update"])
    for package in packages:
        with contextlib.suppress(CommandFailed):
            commands.run([*apt, "download", package], cwd=scratch)
    for deb in scratch.glob("*.deb"):
        with contextlib.suppress(CommandFailed):
            commands.run(["dpkg", "-x", str(deb), str(unpacked)])
    return unpacked
