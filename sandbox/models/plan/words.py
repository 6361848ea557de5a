"""Numbers as people say them."""

from __future__ import annotations

from sandbox.models.plan.machine import GIB


def gigabytes(size: int) -> str:
    """Such as ``14.5 GB``, as disks and downloads are counted."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"


def gib(size: int) -> str:
    """Such as ``13.5 GiB``, as memory is counted: a GPU of 20 GB has 20 GiB."""
    return f"{size / GIB:.1f} GiB" if size >= 5e7 else f"{size / 2**20:.1f} MiB"


def billions(parameters: int) -> str:
    """Such as ``7.25 billion`` or ``2.8 million``."""
    if parameters >= 10**9:
        return f"{parameters / 1e9:.3g} billion"
    return f"{parameters / 1e6:.3g} million"
