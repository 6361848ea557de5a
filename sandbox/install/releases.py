"""Releases side by side: a copy of the code under a name of its own, and the link to one of them.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.install import pack
from sandbox.install.environments import STAMP
from sandbox.paths import Box

NEW = ".new-"


def name_of(source: Path) -> str:
    """Such as ``0.1.0-3fa9c1d2``: the version, and a hash over all of the code.

    Raises ``SandboxError`` when ``source`` is not AI Sandbox.
    """
    try:
        version = pack.version(source)
        digest = hashlib.sha256()
        for file in pack.files(source):
            digest.update(str(file).encode() + b"\0")
            digest.update(hashlib.sha256((source / file).read_bytes()).digest())
    except (pack.PackError, OSError) as error:
        raise SandboxError(
            f"{source} is not a release of AI Sandbox: {error}",
            "Give the folder of a clone, or a release.",
        ) from None
    return f"{version}-{digest.hexdigest()[:8]}"


def stage(source: Path, box: Box) -> Path:
    """Copy the code in ``source`` to where releases lie; the folder of the release."""
    release = box.releases / name_of(source)
    box.releases.mkdir(parents=True, exist_ok=True)
    # The services run what is below; a folder that was there before may be root's alone.
    for folder in (box.home, box.releases):
        folder.chmod(0o755)
    if _is_whole(release):
        return release
    # Left by one that was killed.
    for old in box.releases.glob(f"{NEW}*"):
        shutil.rmtree(old)
    new = box.releases / f"{NEW}{release.name}"
    for file in pack.files(source):
        target = new / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target)
        target.chmod(0o755 if os.access(source / file, os.X_OK) else 0o644)
    for folder in (new, *(path for path in new.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    # Or a power cut could leave a release of empty files under its final name.
    os.sync()
    if release.is_dir():
        _mend(release, new)
    else:
        new.rename(release)
    return release


def _is_whole(release: Path) -> bool:
    """True when the code in ``release`` is the code that its name promises."""
    try:
        return name_of(release) == release.name
    except SandboxError:
        return False


def _mend(release: Path, new: Path) -> None:
    """Replace the damaged code of ``release`` by that in ``new``; its environments stay."""
    for name in pack.CONTENT:
        damaged = release / name
        if damaged.is_dir() and not damaged.is_symlink():
            shutil.rmtree(damaged)
        else:
            damaged.unlink(missing_ok=True)
        (new / name).rename(damaged)
    new.rmdir()


def point(link: Path, release: Path) -> None:
    """Make ``link`` lead to ``release`` in one step that no reader sees half done."""
    new = link.with_name(f"{NEW}{link.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(os.path.relpath(release, link.parent))
    new.replace(link)


def target_of(link: Path) -> Path | None:
    """The release that ``link`` leads to; None when there is none."""
    return link.resolve() if link.is_symlink() and link.exists() else None


def is_whole(release: Path) -> bool:
    """True when all environments of ``release`` were made to their end."""
    return all((release / name / STAMP).exists() for name in ("base", "api", "ui"))


def prune(box: Box) -> list[Path]:
    """Remove the releases that are neither current nor previous; the removed ones."""
    kept = {target_of(box.current), target_of(box.previous)}
    old = [folder for folder in box.releases.glob("*") if folder.resolve() not in kept]
    for folder in old:
        shutil.rmtree(folder)
    return old
