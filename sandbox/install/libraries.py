"""The one system library that vLLM's CPU build needs and a minimal system lacks: libnuma.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.install import debian
from sandbox.install.commands import CommandFailed, Commands

LIBRARY = "libnuma.so.1"
PACKAGE = "libnuma1"
# Run at each start of the environment's Python: what is loaded already is not searched for again.
LOADER = f"import ctypes, sys; ctypes.CDLL(sys.prefix + '/lib/{LIBRARY}')\n"


def ensure_numa(environment: Path, commands: Commands) -> None:
    """Give ``environment`` a libnuma of its own when the system has none.

    Raises ``SandboxError`` where it cannot be fetched.
    """
    python = str(environment / "bin/python")
    try:
        commands.run([python, "-c", f"import ctypes; ctypes.CDLL({LIBRARY!r})"])
        return
    except CommandFailed:
        pass
    with tempfile.TemporaryDirectory(dir=environment, prefix="new-") as scratch:
        unpacked = debian.unpack([PACKAGE], Path(scratch), commands)
        found = sorted(unpacked.glob(f"usr/lib/x86_64-linux-gnu/{LIBRARY}"))
        if not found:
            raise SandboxError(
                f"The library {LIBRARY} is missing and could not be fetched.",
                f"Install it: sudo apt-get install {PACKAGE}, or your distribution's name for it "
                f"(Fedora: numactl-libs). Then run this again; the whole log is {commands.log}",
            )
        shutil.copy(found[0], environment / "lib" / LIBRARY)
    (packages,) = environment.glob("lib/python3.*/site-packages")
    (packages / "ai_sandbox_libraries.pth").write_text(LOADER)
    commands.run([python, "-c", f"import ctypes; ctypes.CDLL({LIBRARY!r})"])
