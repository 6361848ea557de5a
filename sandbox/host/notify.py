"""systemd's notification protocol (sd_notify(3)): READY, STATUS, WATCHDOG; silent elsewhere."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress


def notify(**fields: str) -> None:
    """Send ``NAME=value`` lines to the service manager, if one started us and listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # An abstract socket: its name begins with a zero byte.
        address = "\0" + address[1:]
    # A value is one line: a newline would begin another field.
    lines = [f"{name}={' '.join(value.split())}" for name, value in fields.items()]
    # A manager that is gone or slow must not end or hold up the service.
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.connect(address)
        channel.send("\n".join(lines).encode(), socket.MSG_DONTWAIT)


async def feed_watchdog() -> None:
    """Tell the service manager, as often as it asks for it, that the event loop works."""
    asked = int(os.environ.get("WATCHDOG_USEC") or 0)
    while asked:
        notify(WATCHDOG="1")
        await asyncio.sleep(asked / 1e6 / 3)
