"""The addresses under which this machine's services are reached."""

from __future__ import annotations

import socket

EVERYWHERE = ("0.0.0.0", "::", "")


def own_address() -> list[str]:
    """The address that this machine uses towards others; empty without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: for UDP this only chooses the route.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        address: str = probe.getsockname()[0]
        return [address]


def url(host: str, port: int, path: str = "") -> str:
    """Such as ``http://[::1]:8000/v1``."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
