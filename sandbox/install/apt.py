"""The distribution's packages, as root: installed when missing, purged when nobody else needs them.

In this folder and not in host/, because its commands are an installation step's. Only the standard
library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.install.commands import CommandFailed, Commands

# A fresh machine updates itself in its first minutes; that may take a while.
LOCK_S = 1200
LISTS = Path("/var/lib/apt/lists")
# Mirrors drop the files of older lists.
FRESH_S = 24 * 3600.0
LOCKED = re.compile(r"could not get lock|unable to (acquire|lock)|held by process", re.IGNORECASE)
STALE = re.compile(
    r"unable to locate package|no installation candidate|unmet dependencies|\b404\b|hash sum",
    re.IGNORECASE,
)
INTERRUPTED = "dpkg --configure -a"

Say = Callable[[str], None]
Note = Callable[[list[str]], None]
# Steps run side by side, and dpkg does not.
_one_at_a_time = threading.Lock()


def ensure_packages(
    packages: Sequence[str],
    commands: Commands,
    say: Say = lambda text: None,
    note: Note = lambda names: None,
    lists: Path = LISTS,
) -> list[str]:
    """Install those of ``packages`` that are missing; the names of all that are new here.

    These are what was asked for and what that needs. ``note`` gets the names before anything is
    installed, so that a run that is killed leaves nothing unknown. Raises ``SandboxError``.
    """
    with _one_at_a_time:
        missing = [name for name in packages if name not in installed(commands)]
        if not missing:
            return []
        if not _are_fresh(lists):
            _update(commands, say)
        try:
            new = _would_install(missing, commands)
        except CommandFailed as error:
            if not STALE.search(error.output):
                raise _explain(error, missing, commands) from None
            _update(commands, say)
            new = _would_install_or_explain(missing, commands)
        note(new)
        say(f"installing {len(new)} packages")
        install = ["install", "--yes", "--no-install-recommends", *missing]
        try:
            _apt(commands, *install)
        except CommandFailed as error:
            if not STALE.search(error.output):
                raise _explain(error, missing, commands) from None
            _update(commands, say)
            _apt_or_explain(commands, missing, *install)
        return new


def purge_packages(packages: Sequence[str], commands: Commands) -> list[str]:
    """Purge those of ``packages`` that nothing else needs; the names of those that stay.

    A package that somebody installed later, and what it needs, is never taken along.
    """
    with _one_at_a_time:
        there = installed(commands)
        ours = [name for name in packages if name in there]
        free = ours if _is_alone(ours, ours, commands) else []
        if not free:
            free = [name for name in ours if _is_alone([name], ours, commands)]
            # Two that can go alone may be all that a third has.
            if not _is_alone(free, ours, commands):
                free = []
        if free:
            _apt_or_explain(commands, free, "purge", "--yes", *free)
        return [name for name in ours if name not in free]


def installed(commands: Commands) -> set[str]:
    """The names of all installed packages; empty where there is no dpkg."""
    try:
        output = commands.run(["dpkg-query", "-W", "-f=${db:Status-Status} ${Package}\\n"])
    except CommandFailed:
        return set()
    words = (line.split() for line in output.splitlines())
    return {pair[1] for pair in words if len(pair) == 2 and pair[0] == "installed"}


def has_candidate(package: str, commands: Commands) -> bool:
    """True when the lists know a version of ``package`` that could be installed."""
    try:
        policy = commands.run(["apt-cache", "policy", package], env=_environment())
    except CommandFailed:
        return False
    match = re.search(r"Candidate: (\S+)", policy)
    return match is not None and match.group(1) != "(none)"


def _update(commands: Commands, say: Say) -> None:
    say("reading the list of packages")
    # One source of several may be out of order; the installation decides.
    with contextlib.suppress(CommandFailed):
        _apt(commands, "update")


def _is_alone(names: Sequence[str], ours: Sequence[str], commands: Commands) -> bool:
    """True when purging ``names`` would remove nothing but packages of ``ours``."""
    if not names:
        return True
    try:
        simulated = _apt(commands, "--simulate", "purge", *names)
    except CommandFailed:
        # Such as: an essential package would go.
        return False
    removed = re.findall(r"^(?:Purg|Remv) ([^\s:]+)", simulated, re.MULTILINE)
    return set(removed) <= set(ours)


def _would_install(packages: Sequence[str], commands: Commands) -> list[str]:
    install = ["install", "--no-install-recommends", *packages]
    simulated = _apt(commands, "--simulate", *install)
    # An upgrade has the old version in brackets; it is not ours to remove.
    return sorted(set(re.findall(r"^Inst ([^\s:]+) \(", simulated, re.MULTILINE)))


def _would_install_or_explain(packages: Sequence[str], commands: Commands) -> list[str]:
    try:
        return _would_install(packages, commands)
    except CommandFailed as error:
        raise _explain(error, packages, commands) from None


def _apt_or_explain(commands: Commands, packages: Sequence[str], *arguments: str) -> None:
    try:
        _apt(commands, *arguments)
    except CommandFailed as error:
        raise _explain(error, packages, commands) from None


def _apt(commands: Commands, *arguments: str) -> str:
    """Run apt-get; waits for another package manager, and completes what a killed one left."""
    command = ["apt-get", "--quiet", "-o", f"DPkg::Lock::Timeout={LOCK_S}"]
    # A configuration file that a person changed stays as it is.
    command += ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    command += ["-o", "Acquire::Retries=3", *arguments]
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            return commands.run_with_retries(command, env=_environment())
        except CommandFailed as error:
            if INTERRUPTED in error.output:
                commands.run(["dpkg", "--configure", "-a"], env=_environment())
            elif not LOCKED.search(error.output) or time.monotonic() > deadline:
                raise
            else:
                # The lock of the lists, for which apt itself does not wait.
                time.sleep(2)


def _environment() -> dict[str, str]:
    """``os.environ`` with what keeps apt from asking, and its messages in English."""
    return {
        **os.environ,
        "DEBIAN_FRONTEND": "noninteractive",
        "APT_LISTCHANGES_FRONTEND": "none",
        # Ubuntu's needrestart would restart services that are not ours.
        "NEEDRESTART_SUSPEND": "1",
        "LC_ALL": "C.UTF-8",
    }


def _are_fresh(lists: Path) -> bool:
    try:
        # Files have their server's times; the folders have ours.
        age = time.time() - max(lists.stat().st_mtime, (lists / "partial").stat().st_mtime)
    except OSError:
        return False
    return age < FRESH_S and any(lists.glob("*Packages*"))


def _explain(error: CommandFailed, packages: Sequence[str], commands: Commands) -> SandboxError:
    names = " ".join(packages)
    lines = [line for line in error.output.splitlines() if line.startswith(("E:", "W:"))]
    reason = "\n".join(lines[-3:]) or error.reason
    return SandboxError(
        f"These packages could not be changed: {names}\n{reason}",
        f"Try it by hand: sudo apt-get update, then sudo apt-get install {names}. "
        f"Then run this again; the whole log is {commands.log}",
    )
