"""`ai-sandbox upgrade` and `rollback`: another release built beside the one that serves."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from sandbox.errors import ExitCode, SandboxError
from sandbox.host import hardware
from sandbox.install import first_boot, preflight, releases, services, switch
from sandbox.install.lock import only_installer
from sandbox.paths import Box, Paths
from sandbox.settings import Settings, load

CHUNK = 1 << 20


def upgrade(source: str, sha256: str) -> int:
    """Build the release in ``source`` (folder, archive or https address) and switch to it.

    The release that serves does the switch and the watch: its code is known to work.
    """
    box = Box()
    settings = load(Paths.installed(box.root)).settings
    with only_installer(box), tempfile.TemporaryDirectory() as scratch:
        first_boot.use_caches(box)
        folder = _unpack(source, sha256, Path(scratch))
        is_new = not (box.releases / releases.name_of(folder)).exists()
        release = releases.stage(folder, box)
        if release == releases.target_of(box.current):
            # After an interruption the services may still be those of before.
            services.ensure_running(release, box, settings, restart=False)
            print(f"{release.name} serves already.")
            return ExitCode.OK
        print(f"Building {release.name} beside the one that serves.", flush=True)
        try:
            _check_disk(release, box, settings)
            _build(release)
        except BaseException:
            if is_new:
                shutil.rmtree(release, ignore_errors=True)
            raise
        switch.to(release, box, settings, lambda text: print(text, flush=True))
    print(f"{release.name} serves. `ai-sandbox rollback` goes back.", flush=True)
    # What else the new release wants of the machine, by its own code.
    return subprocess.run([str(release / "base/bin/ai-sandbox"), "install"]).returncode


def rollback() -> int:
    """Serve from the release before the current one."""
    box = Box()
    with only_installer(box):
        settings = load(Paths.installed(box.root)).settings
        switch.roll_back(box, settings, lambda text: print(text, flush=True))
    return ExitCode.OK


def _build(release: Path) -> None:
    """Have the release's own code make its environments, and prove them."""
    bootstrap = [sys.executable, str(release / "sandbox/install/bootstrap.py"), "release"]
    if subprocess.run(bootstrap, check=False).returncode:
        raise SandboxError(
            f"The release {release.name} could not be built.",
            "The one that serves was not touched. What went wrong stands above.",
        )


def _check_disk(release: Path, box: Box, settings: Settings) -> None:
    has_gpu = hardware.has_nvidia_card() or hardware.has_nvidia_gpu()
    needs = preflight.needs(release, has_gpu)
    for problem in preflight.check_disk(box, settings.models_dir, needs, 0, ""):
        raise SandboxError(problem.message, problem.hint)


def _unpack(source: str, sha256: str, scratch: Path) -> Path:
    """The folder with the code of ``source``; nothing is unpacked that differs from ``sha256``."""
    if Path(source).is_dir():
        return Path(source)
    archive = Path(source)
    if urllib.parse.urlsplit(source).scheme in ("http", "https"):
        if not sha256:
            raise SandboxError(
                f"{source} is an address, and what comes from there must be known beforehand.",
                "Give its hash: ai-sandbox upgrade ADDRESS --sha256 HASH",
            )
        archive = _download(source, scratch / "release.tar.gz")
    try:
        found = _sha256(archive)
    except OSError as error:
        raise SandboxError(
            f"{source} cannot be read: {error.strerror}.",
            "Give a folder, a .tar.gz file or an https address.",
        ) from None
    if sha256 and found != sha256.lower():
        raise SandboxError(
            f"{source} is not the release that was expected: its sha256 is {found}, not {sha256}.",
            "Nothing was unpacked. Download it again, or correct --sha256.",
        )
    (scratch / "release").mkdir()
    # Not tarfile: Debian 12's has no filter against paths that lead elsewhere, and tar has.
    unpack = ["tar", "--extract", "--gzip", "--no-same-owner", "--file", str(archive.absolute())]
    done = subprocess.run(
        [*unpack, "--directory", str(scratch / "release")], capture_output=True, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise SandboxError(
            f"{source} cannot be unpacked: {lines[0] if lines else 'tar failed'}",
            "It must be a .tar.gz of a release.",
        )
    folders = list((scratch / "release").iterdir())
    return folders[0] if len(folders) == 1 else scratch / "release"


def _download(address: str, target: Path) -> Path:
    try:
        with urllib.request.urlopen(address, timeout=30) as response, target.open("wb") as file:
            shutil.copyfileobj(response, file, CHUNK)
    except OSError as error:
        raise SandboxError(
            f"{address} could not be downloaded: {error}.", "Check the address and the network."
        ) from None
    return target


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
