"""The two services on a box: started, handed their ports, restarted when something changed."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from sandbox.host import systemctl
from sandbox.install import first_boot, releases, toolchain, units
from sandbox.install.commands import CommandFailed, Commands
from sandbox.install.users import plain_environment
from sandbox.paths import Box, Paths
from sandbox.settings import Settings

# Files in an environment that say what was done with it; a new environment has none.
CHECKED = "ai-sandbox-checked"
COMPILED = "ai-sandbox-compiled"
COMPILE = ("vllm", "torch", "triton", "flashinfer")


def ensure_running(release: Path, box: Box, settings: Settings, restart: bool) -> bool:
    """Have the services run from ``release``; True when one was started or restarted.

    ``restart`` also restarts running ones, for new settings.
    """
    changed = units.ensure_units(release, box, settings)
    if releases.target_of(box.current) != release:
        releases.point(box.current, release)
        changed |= set(units.NAMES)
    started = False
    for name, port in ((units.API, settings.api_port), (units.UI, settings.ui_port)):
        stale = restart or name in changed or not runs_from(name, release)
        stale = stale or not _has_read(name, Paths.installed(box.root).env_file)
        started = _ensure_running(name, port, stale) or started
    return started


def is_wanted(name: str) -> bool:
    """False for a unit that a person has disabled or masked."""
    return systemctl.is_enabled(name)


def runs_from(name: str, release: Path) -> bool:
    """True when the process of the unit ``name`` is a program of ``release``."""
    pid = systemctl.show(name, "MainPID").get("MainPID") or "0"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return bytes(release) in command


def _ensure_running(name: str, port: int, restart: bool) -> bool:
    if not is_wanted(name) or (systemctl.is_active(name) and not restart):
        return False
    if not systemctl.is_active(name):
        # It binds its port within a second; until then the page is gone.
        first_boot.end_page(port)
    systemctl.reset_failed(name)
    systemctl.restart(name)
    return True


def _has_read(name: str, env_file: Path) -> bool:
    """False when ``env_file`` was written after the unit ``name`` was started or reloaded."""
    changed = systemctl.show(name, "StateChangeTimestampMonotonic")
    microseconds = int(changed.get("StateChangeTimestampMonotonic") or 0)
    if not microseconds or not systemctl.is_active(name):
        return True
    # Both by the clock of today: the one that is shown may have been set since.
    age = time.clock_gettime(time.CLOCK_MONOTONIC) - microseconds / 1e6
    return env_file.stat().st_mtime <= time.time() - age


def check_engine(release: Path, commands: Commands) -> bool:
    """Import what every start imports, which proves it and compiles it; raises ``CommandFailed``.

    The services may not write there: without this each of their starts would compile it again.
    """
    checked = release / "api" / CHECKED
    if checked.exists():
        return False
    toolchain.check_compiler(release / "api", commands)
    program = str(release / "api/bin/ai-sandbox")
    commands.run([program, "check-engine"], env=plain_environment())
    checked.touch()
    return True


def check_page(release: Path, commands: Commands) -> bool:
    """The same for Open WebUI."""
    checked = release / "ui" / CHECKED
    if checked.exists():
        return False
    program = str(release / "base/bin/ai-sandbox")
    commands.run([program, "check-page"], env=plain_environment())
    checked.touch()
    return True


def compile_bytecode(release: Path, commands: Commands) -> bool:
    """Compile what a start with a GPU imports besides, at the lowest priority."""
    folder = release / "api"
    if (folder / COMPILED).exists():
        return False
    found = [folder.glob(f"lib/python3.*/site-packages/{name}") for name in COMPILE]
    packages = [str(package) for part in found for package in part]
    compiling = ["nice", "-n", "19", str(folder / "bin/python"), "-m", "compileall"]
    # Packages bring templates that are no Python 3.11.
    with contextlib.suppress(CommandFailed):
        commands.run([*compiling, "-q", "-j", "0", *packages])
    (folder / COMPILED).touch()
    return True
