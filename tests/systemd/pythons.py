"""A Python 3.11 for Debians that have none, built from bookworm's source, once per machine.

People's boxes get one through uv, from a server that may be out of a test machine's reach.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.container.machine import CACHE

WITHOUT = ("bullseye", "trixie")
PREFIX = "/opt/python3.11"
BUILD = (
    "build-essential", "ca-certificates", "dpkg-dev", "libbz2-dev", "libffi-dev", "liblzma-dev",
    "libssl-dev", "tcl", "xz-utils", "zlib1g-dev",
)  # fmt: skip
# With SQLite: bullseye's is older than what Open WebUI asks for, and the Python that people's boxes
# get has its own.
SOURCES = """\
read -r _ mirror _ < /etc/apt/sources.list
echo "deb-src $mirror bookworm main" > /etc/apt/sources.list.d/source.list
apt-get -qq update
mkdir -p /root/sqlite /root/python
cd /root && apt-get -qq source --download-only sqlite3 python3.11
tar -xf sqlite3_*.orig.tar.* --strip-components 1 -C sqlite
tar -xf python3.11_*.orig.tar.* --strip-components 1 -C python
cd /root/sqlite
./configure -q --prefix={prefix} --disable-static --disable-readline --disable-tcl
make -s -j2 && make -s install
cd /root/python
export CPPFLAGS=-I{prefix}/include LDFLAGS="-L{prefix}/lib -Wl,-rpath,{prefix}/lib"
./configure -q --prefix={prefix} --without-static-libpython
make -s -j2 && make -s install
{prefix}/bin/python3.11 -c 'import sqlite3, ssl; assert sqlite3.sqlite_version_info >= (3, 35)'
"""


def ensure_python(suite: str) -> Path | None:
    """A folder with Python 3.11 for ``suite``, to be copied to PREFIX; None where it has one."""
    if suite not in WITHOUT:
        return None
    kept = CACHE / f"python3.11-{suite}"
    if not kept.is_dir():
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="build-") as folder:
            root = Path(folder) / "root"
            make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(BUILD)}"]
            _run([*make, suite, str(root)])
            script = root / "root/build.sh"
            script.write_text(SOURCES.format(prefix=PREFIX))
            enter = ["systemd-nspawn", "--quiet", "--directory", str(root), "--as-pid2"]
            enter += ["--register=no", "--keep-unit", "--resolv-conf=off"]
            enter += ["--bind-ro=/etc/resolv.conf", "--pipe"]
            _run([*enter, "/bin/bash", "-e", "/root/build.sh"])
            shutil.rmtree(root / PREFIX.lstrip("/") / "lib/python3.11/test")
            shutil.move(root / PREFIX.lstrip("/"), kept)
    return kept


def add_python(disk: Path, suite: str) -> None:
    """Give the machine on ``disk`` a Python 3.11 where ``suite`` has none."""
    kept = ensure_python(suite)
    if kept:
        target = disk / PREFIX.lstrip("/")
        shutil.copytree(kept, target, symlinks=True)
        link = disk / "usr/local/bin/python3.11"
        link.symlink_to(f"{PREFIX}/bin/python3.11")


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
