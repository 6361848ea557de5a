"""What vLLM counts, read from the Prometheus registry of this process without importing vLLM."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry

_GENERATED = "vllm:generation_tokens_total"
_PROMPT = "vllm:prompt_tokens_total"
_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_KV_CACHE = "vllm:kv_cache_usage_perc"
_FIRST_TOKEN = "vllm:time_to_first_token_seconds_bucket"


@dataclass(frozen=True)
class Reading:
    """Counters since the engine's start, and gauges of now; summed over the engines of a model."""

    generated_tokens: float = 0.0
    prompt_tokens: float = 0.0
    running: float = 0.0
    waiting: float = 0.0
    # 0 to 1; of several engines, the fullest.
    kv_cache: float = 0.0
    # Upper bound in seconds -> how many requests had their first token within it.
    first_token: Mapping[float, float] = field(default_factory=dict)

    def since(self, before: Reading) -> Reading:
        """What was counted after ``before``; gauges stay. A new engine counts from 0 again."""
        if self.generated_tokens < before.generated_tokens or _total(self) < _total(before):
            before = Reading()
        return Reading(
            self.generated_tokens - before.generated_tokens,
            max(0.0, self.prompt_tokens - before.prompt_tokens),
            self.running,
            self.waiting,
            self.kv_cache,
            {
                bound: count - before.first_token.get(bound, 0.0)
                for bound, count in self.first_token.items()
            },
        )


def read(registry: CollectorRegistry = REGISTRY) -> Reading | None:
    """The numbers of now; None while no engine counts. Takes about 0.1 ms."""
    values = dict.fromkeys((_GENERATED, _PROMPT, _RUNNING, _WAITING, _KV_CACHE), 0.0)
    first_token: dict[float, float] = {}
    found = False
    for metric in registry.restricted_registry([*values, _FIRST_TOKEN]).collect():
        for sample in metric.samples:
            found = True
            if sample.name == _FIRST_TOKEN:
                bound = float(sample.labels["le"])
                first_token[bound] = first_token.get(bound, 0.0) + sample.value
            elif sample.name == _KV_CACHE:
                values[_KV_CACHE] = max(values[_KV_CACHE], sample.value)
            else:
                values[sample.name] += sample.value
    if not found:
        return None
    return Reading(
        values[_GENERATED],
        values[_PROMPT],
        values[_RUNNING],
        values[_WAITING],
        values[_KV_CACHE],
        first_token,
    )


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the observations lie; None without any.

    Interpolates within a bucket as Prometheus' ``histogram_quantile`` does.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    rank = share * total
    lower, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank and count > below:
            # Above the last finite bound nothing more is known.
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def _total(reading: Reading) -> float:
    return reading.first_token.get(math.inf, 0.0)
