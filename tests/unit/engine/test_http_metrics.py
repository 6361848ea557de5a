"""The counts of HTTP requests are the latest app's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from sandbox.engine import http_metrics


def test_counts_of_http_can_be_registered_again_and_others_stay() -> None:
    registry = CollectorRegistry()
    for _ in range(2):
        http_metrics.forget(registry)
        Counter("http_requests_total", "", ["status"], registry=registry).labels("2xx").inc()
        Histogram("http_request_duration_seconds", "", registry=registry)
    Counter("vllm:requests", "", registry=registry).inc()
    http_metrics.forget(registry)
    assert {metric.name for metric in registry.collect()} == {"vllm:requests"}
