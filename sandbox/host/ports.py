"""Whether a TCP port can be listened on, and which process holds it when not; /proc only."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sandbox.errors import SandboxError

LISTEN = "0A"


class Holder(NamedTuple):
    """The process that listens on a port; ``name`` is the kernel's name for it."""

    pid: int
    name: str


def check_port_free(host: str, port: int, setting_name: str) -> None:
    """Raise ``SandboxError`` when nothing could listen on ``host``:``port`` now.

    ``setting_name`` is the setting that holds the port, such as ``UI_PORT``.
    """
    bind(host, port, setting_name).close()


def bind(host: str, port: int, setting_name: str) -> socket.socket:
    """A TCP socket bound to ``host``:``port``, not yet listening.

    Raises ``SandboxError`` that names the process holding the port, or what else is wrong.
    """
    host_setting = setting_name.replace("PORT", "HOST")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise SandboxError(
            f"{host_setting} is {host!r}; it must be an address of this machine.",
            f"Set {host_setting} to 0.0.0.0 for everyone or 127.0.0.1 for this machine only.",
        ) from None
    bound = socket.socket(family, kind, protocol)
    try:
        # A connection in TIME_WAIT does not make a port busy.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _explain(error, host, port, setting_name) from None
    return bound


def find_holder(port: int, proc: Path = Path("/proc")) -> Holder | None:
    """The process that listens on ``port``; None when there is none or we may not see it."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    if not sockets:
        return None
    numbers = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
    for pid in numbers:
        if sockets & _open_files(proc / str(pid)):
            return Holder(pid, (proc / str(pid) / "comm").read_text().strip())
    return None


def _open_files(process: Path) -> set[str]:
    found = set()
    # Another user's, or gone since; so may be each of its files.
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def _listening_inodes(port: int, proc: Path) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(fields[9])
    return inodes


def _explain(error: OSError, host: str, port: int, setting_name: str) -> SandboxError:
    host_setting = setting_name.replace("PORT", "HOST")
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(port)
        by = f"PID {holder.pid} ({holder.name})" if holder else "another process"
        return SandboxError(
            f"Port {port} is in use by {by}.",
            f"Stop it, or set {setting_name} to another port.",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return SandboxError(
            f"{host_setting} is {host}, which is not an address of this machine.",
            f"Set {host_setting} to 0.0.0.0 for everyone or 127.0.0.1 for this machine only.",
        )
    if error.errno == errno.EACCES:
        return SandboxError(
            f"Port {port} is reserved for root: this user may not listen below 1024.",
            f"Set {setting_name} to a port from 1024 up.",
        )
    return SandboxError(
        f"Port {port} on {host} cannot be opened: {error.strerror}.",
        f"Set {setting_name} to another port.",
    )
