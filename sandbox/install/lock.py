"""One installer at a time on a machine.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from sandbox.errors import SandboxError
from sandbox.paths import Box


@contextlib.contextmanager
def only_installer(box: Box) -> Iterator[None]:
    """Hold the machine's installation lock. Raises ``SandboxError`` when another holds it."""
    box.home.mkdir(parents=True, exist_ok=True)
    # Not opened for writing with truncation: the holder's number is in it. Only root's: whoever can
    # open it can hold it.
    with os.fdopen(os.open(box.home / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        os.fchmod(lock.fileno(), 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(
                f"Another installation is running here (PID {lock.read().strip() or 'unknown'}).",
                "Wait for its end; its output is in /var/log/stackscript.log or its terminal.",
            ) from None
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield
