"""The counts of HTTP requests (http_requests_total and its like), which the latest app has.

Each app of vLLM registers them anew, and counts nothing at all where they are registered already:
by the app of the engine before, or by one that was built ahead.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry


def forget(registry: CollectorRegistry = REGISTRY) -> None:
    """Make room in ``registry`` for those of the next app, which begin at 0."""
    for collector, names in [*registry._collector_to_names.items()]:
        if any(name.startswith("http_") for name in names):
            registry.unregister(collector)
