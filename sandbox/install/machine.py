"""What kind of machine this is, as far as the oldest Python tells: root, systemd, distribution.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import NamedTuple

# The newest and the oldest that the installer was made for; name and version of os-release.
DISTRIBUTIONS = {
    "ubuntu": ("22.04", "24.04"),
    "debian": ("11", "12", "13"),
}
LIST = "Ubuntu 22.04 and 24.04, Debian 11, 12 and 13"
# Directives of our units that older ones do not know (ProtectProc=, LoadCredential=).
OLDEST_SYSTEMD = 247


class Problem(NamedTuple):
    """Why nothing is installed here, in a sentence; ``hint`` says what to do."""

    message: str
    hint: str


class Distribution(NamedTuple):
    """Of /etc/os-release: ``name`` is its ID, such as ``debian``; ``title`` is for people."""

    name: str
    version: str
    title: str

    @property
    def is_known(self) -> bool:
        """True when the installer was made for it."""
        return self.version in DISTRIBUTIONS.get(self.name, ())


def distribution(root: Path = Path("/")) -> Distribution:
    """What this system says of itself; the name is empty when it says nothing."""
    fields = {}
    for name in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = (root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
            fields[key] = value.strip().strip("\"'")
        break
    name, version = fields.get("ID", ""), fields.get("VERSION_ID", "")
    title = fields.get("PRETTY_NAME") or f"{name} {version}".strip() or "unknown"
    return Distribution(name, version, title)


def problems(root: Path = Path("/")) -> list[Problem]:
    """All that speaks against an installation on this machine; empty means go on."""
    found = []
    if os.geteuid() != 0:
        found.append(
            Problem(
                f"The installer needs root, and this user has number {os.geteuid()}.",
                "Run it with sudo.",
            )
        )
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        found.append(
            Problem(
                f"This is {platform.system()} on {platform.machine()}; "
                "AI Sandbox runs on Linux on x86-64.",
                "Use such a machine.",
            )
        )
    system = distribution(root)
    if not system.is_known:
        found.append(
            Problem(
                f"This system is {system.title}; the installer is made for {LIST}.",
                "Use one of them. On any other Linux, `make run` in a clone works without it.",
            )
        )
    return found + systemd_problems(root)


def systemd_problems(root: Path = Path("/")) -> list[Problem]:
    """Whether systemd runs this machine and is new enough."""
    if not (root / "run/systemd/system").is_dir():
        return [
            Problem(
                "systemd does not run this machine: there is no /run/systemd/system.",
                "Use a whole machine and no container; in a clone `make run` needs no systemd.",
            )
        ]
    version = systemd_version(root)
    if version is not None and version < OLDEST_SYSTEMD:
        return [
            Problem(
                f"systemd is version {version}; {OLDEST_SYSTEMD} or newer is needed.",
                f"Use {LIST}.",
            )
        ]
    return []


def systemd_version(root: Path = Path("/")) -> int | None:
    """By the library's name, which has the version since 230; None when it cannot be told."""
    folders = (
        "lib/systemd",
        "usr/lib/systemd",
        "usr/lib64/systemd",
        "usr/lib/x86_64-linux-gnu/systemd",
    )
    for folder in folders:
        for library in (root / folder).glob("libsystemd-shared-*.so"):
            match = re.search(r"shared-(\d+)", library.name)
            if match:
                return int(match.group(1))
    return None
