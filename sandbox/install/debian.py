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
    # The user _apt, whom apt hands downloads to when it is root, may not read a private folder.
    apt = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=root"]
    if not _download(apt, packages, scratch, commands):
        # This machine's own lists are absent or out of date; they are not ours to refresh.
        for setting, folder in (("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")):
            (scratch / folder / "partial").mkdir(parents=True)
            apt += ["-o", f"{setting}={scratch / folder}"]
        # One source of several may be out of order; the downloads decide.
        with contextlib.suppress(CommandFailed):
            commands.run_with_retries([*apt, "-o", "Acquire::Languages=none", "update"])
        _download(apt, packages, scratch, commands)
    for deb in scratch.glob("*.deb"):
        with contextlib.suppress(CommandFailed):
            commands.run(["dpkg", "-x", str(deb), str(unpacked)])
    return unpacked


def _download(
    apt: Sequence[str], packages: Sequence[str], scratch: Path, commands: Commands
) -> bool:
    """Download those of ``packages`` that can be had; False when there is none."""
    for package in packages:
        with contextlib.suppress(CommandFailed):
            commands.run([*apt, "download", package], cwd=scratch)
    return any(scratch.glob("*.deb"))
