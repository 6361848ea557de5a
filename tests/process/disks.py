"""A small disk of its own for programs under test, which they see and others do not."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.process.processes import running


@dataclass(frozen=True)
class Disk:
    """A file system at ``place``, for programs that are started ``under`` it."""

    place: Path
    under: list[str]
    # The same folder, as the tests reach it.
    inside: Path

    def fill(self) -> None:
        """Take all that is left."""
        block = bytes(1 << 20)
        with (self.inside / "filler").open("wb", buffering=0) as stream:
            try:
                while stream.write(block):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Iterator[Disk]:
    """A tmpfs with mount's ``options`` at ``place``, which is made."""
    place.mkdir()
    # A namespace of mounts: for root as it is, for others with a namespace of users.
    alone = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    mount = f"mount -t tmpfs -o {options} tmpfs {place} && echo mounted && exec sleep infinity"
    with running([*alone, "sh", "-c", mount], place.parent) as holder:
        holder.wait_for("mounted")
        pid = holder.process.pid
        users = ["--user", "--preserve-credentials"] if os.geteuid() else []
        under = ["nsenter", f"--target={pid}", *users, "--mount", "--"]
        yield Disk(place, under, Path(f"/proc/{pid}/root{place}"))
