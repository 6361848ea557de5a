"""What stackscript.sh is run on: a root folder, a copy of the code with a stand-in installer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.install.pack import CONTENT, stamped

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "stackscript.sh"


class Machine:
    """A folder that stackscript.sh takes for the whole machine, and what happened in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.temporary = folder / "tmp"
        self.source = folder / "clone"
        for made in (self.root, self.temporary, self.source):
            made.mkdir()
        for name in CONTENT:
            # As in the real one: what has no dot is a folder, but for the licence.
            file = self.source / (name if "." in name or name == "LICENSE" else f"{name}/file")
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"the {name}\n")
        install = self.source / "sandbox/install"
        install.mkdir()
        (self.source / "sandbox/__init__.py").write_text('__version__ = "9.8.7"\n')
        shutil.copy(ROOT / "sandbox/install/pack.py", install)
        shutil.copy(ROOT / "tests/standins/installer.py", install / "bootstrap.py")

    def environment(self, **more: str | Path) -> dict[str, str]:
        """All of the environment that the script gets: Linode starts it with next to none."""
        own = {"AI_SANDBOX_ROOT": self.root, "TMPDIR": self.temporary}
        return {name: str(value) for name, value in {**own, **more}.items()}

    def run(
        self, *arguments: str, script: Path = SCRIPT, **environment: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Run the script; it installs ``source`` when ``environment`` does not say otherwise."""
        environment = {"AI_SANDBOX_SOURCE": self.source, **environment}
        return subprocess.run(
            ["/bin/bash", str(script), *arguments],
            env=self.environment(**environment),
            cwd=self.root,
            capture_output=True,
            text=True,
            errors="surrogateescape",
        )

    @property
    def seen(self) -> dict[str, Any]:
        """What the installer was given."""
        seen: dict[str, Any] = json.loads((self.root / "seen.json").read_text())
        return seen

    @property
    def was_touched(self) -> bool:
        """True when the script did anything at all."""
        return any(self.root.iterdir()) or any(self.temporary.iterdir())

    @property
    def log(self) -> Path:
        return self.root / "var/log/stackscript.log"

    @property
    def motd(self) -> Path:
        return self.root / "etc/motd"

    def script_of_a_release(self, url: str, sha256: str) -> Path:
        """The script as `make release` writes it."""
        script = self.root.parent / "stackscript.sh"
        pins = {"RELEASE_URL": url, "RELEASE_SHA256": sha256}
        script.write_text(stamped(SCRIPT.read_text(), pins))
        return script


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a web server, a process of its own, with the files of ``folder``."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--directory", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    ) as server:
        assert server.stdout
        try:
            # "Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ..."
            yield server.stdout.readline().split("(")[1].split(")")[0]
        finally:
            server.terminate()
