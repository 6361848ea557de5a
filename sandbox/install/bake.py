"""What a disk that becomes an image (`--bake`) must not have: traces of this one machine."""

from __future__ import annotations

import shutil
import subprocess

from sandbox.paths import Box


def clean_up(box: Box) -> None:
    """Remove logs, caches and the traces of this machine; the environments stay."""
    shutil.rmtree(box.package_cache, ignore_errors=True)
    shutil.rmtree(box.logs, ignore_errors=True)
    shutil.rmtree(box.progress.parent, ignore_errors=True)
    subprocess.run(["apt-get", "clean"], check=False)
    for lists in (box.root / "var/lib/apt/lists").glob("*_*"):
        lists.unlink()
