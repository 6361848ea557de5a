"""Ways to load a model on a machine, and the context that each leaves room for.

The rule on a GPU: vLLM takes 92% of what CUDA reports (``config/cache.py``); of that go the
weights, what computing takes, and the rest is the KV cache, in which one request of full length
must fit (``v1/worker/gpu_worker.py: determine_available_memory``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sandbox.models.plan.examine import Candidate
from sandbox.models.plan.kv import CPU_BLOCK, GPU_BLOCK, KvCache
from sandbox.models.plan.machine import GIB, Machine

# vLLM's default for --gpu-memory-utilization.
UTILIZATION = 0.92
# CUDA reports 1 to 2% less than a GPU has: 23.6 GiB of 24 on an RTX 4090, 139.8 of 140.4 on an
# H200.
_USABLE = 0.98
# Beside the weights on every GPU: CUDA's context and libraries (0.6), workspaces of attention and
# matrix kernels (0.5), CUDA graphs, whose estimate vLLM takes off too (0.3 to 1). Checked against
# what is known to work: Mistral 7B with 16,384 tokens on 20 GB at 0.90, in Akamai's own apps.
_FIXED_BYTES = 2 * GIB
# Buffers of the GPUs' exchange (NCCL and vLLM's own all-reduce).
_PARALLEL_BYTES = GIB // 3
# Copies that loading makes and keeps: matrices absorbed by MLA, repacked weights, alignment.
_WEIGHTS_MARGIN = 0.03
# On a CPU: the launcher, EngineCore and a worker with vLLM imported, and what computing takes.
_CPU_FIXED_BYTES = 3 * GIB // 2
# Below it a chat soon forgets how it began: rather quantize the weights.
COMFORTABLE_CONTEXT = 8192
# Below it the model is of no use.
_LEAST_CONTEXT = 2048
# By vLLM's name; weights only are quantized, while they load. Needs no calibration data.
FP8 = "fp8_per_tensor"
# Round numbers: what is left after rounding is smaller than what the estimate is wrong by.
_STEP = 256


@dataclass(frozen=True)
class Wishes:
    """What the settings fix; None is ``auto``."""

    context: int | None = None
    tensor_parallel: int | None = None
    quantization: str | None = None
    utilization: float | None = None


@dataclass(frozen=True)
class Way:
    """One way to load the model; ``context`` is the longest, 0 when nothing fits."""

    tensor_parallel: int
    # What vLLM is told, None to load the weights as they are.
    quantization: str | None
    context: int
    concurrency: float
    # Bytes on each GPU (or in the CPU's memory).
    weight_bytes: int
    kv_cache_bytes: int
    # What vLLM is told to compute in, None for the model's own.
    dtype: str | None = None


def ways(candidate: Candidate, machine: Machine, wishes: Wishes) -> Iterator[Way]:
    """Every way that ``wishes`` allow, unquantized ones first, then fewer GPUs first."""
    if not machine.gpus:
        if not machine.has_16_bit_floats and has_16_bit_floats(candidate):
            yield replace(_on_cpu(widened(candidate), machine, wishes), dtype="float32")
        yield _on_cpu(candidate, machine, wishes)
        return
    quantizations: list[str | None] = [wishes.quantization]
    if not wishes.quantization and not candidate.shape.quantization and machine.has_fp8:
        quantizations.append(FP8)
    for quantization in quantizations:
        for size in splits(candidate, machine, wishes):
            yield _on_gpus(candidate, machine, wishes, size, quantization)


def choose(candidate: Candidate, machine: Machine, wishes: Wishes) -> Way | None:
    """The best way, or None when none leaves room for a useful context.

    As long as a comfortable context is left: numbers that a processor computes fast, and weights as
    they are before quantized ones. Then the whole context before a part of it; fewer GPUs before
    more.
    """
    own = candidate.shape.context
    least = wishes.context or min(own, _LEAST_CONTEXT)
    enough = wishes.context or own
    able = [way for way in ways(candidate, machine, wishes) if way.context >= least]
    as_they_are = [way for way in able if way.quantization == wishes.quantization]
    comfortable = [w for w in as_they_are if w.context >= min(enough, COMFORTABLE_CONTEXT)]
    if wide := [way for way in comfortable if way.dtype]:
        return wide[0]
    chosen = comfortable or able
    whole = [way for way in chosen if way.context >= enough]
    return whole[0] if whole else max(chosen, key=lambda way: way.context, default=None)


def has_16_bit_floats(candidate: Candidate) -> bool:
    """True for a model that is computed in 16 bits, weights and all."""
    shape = candidate.shape
    return shape.dtype in ("bfloat16", "float16") and not shape.quantization


def widened(candidate: Candidate) -> Candidate:
    """``candidate`` as it is when it is loaded in 32 bits instead of 16."""
    shape, weights = candidate.shape, candidate.weights
    return replace(
        candidate,
        shape=replace(shape, dtype="float32", kv_bytes=2 * shape.kv_bytes),
        weights=replace(
            weights, bytes=2 * weights.bytes, shrinkable_bytes=2 * weights.shrinkable_bytes
        ),
    )


def splits(candidate: Candidate, machine: Machine, wishes: Wishes) -> list[int]:
    """The numbers of GPUs over which the model can be split here."""
    sizes = [wishes.tensor_parallel] if wishes.tensor_parallel else range(1, machine.gpus + 1)
    return [size for size in sizes if size <= machine.gpus and not undivided(candidate, size)]


def undivided(candidate: Candidate, size: int) -> str:
    """What ``size`` GPUs cannot share evenly, such as ``14 attention heads``; or nothing."""
    for name, number in candidate.shape.divisible:
        if number % size:
            return f"{number:,} {name}"
    for kind in candidate.shape.attention:
        if kind.kv_heads % size and size % kind.kv_heads:
            return f"{kind.kv_heads} key-value heads"
    return ""


def kv_cache(candidate: Candidate, machine: Machine, tensor_parallel: int) -> KvCache:
    """The arithmetic of the cache on each GPU of ``machine``."""
    if not machine.gpus:
        return KvCache(candidate.shape, tensor_parallel=1, block=CPU_BLOCK, in_flight=2048)
    # Two batches: one is computed while the next is prepared.
    return KvCache(
        candidate.shape,
        tensor_parallel=tensor_parallel,
        block=GPU_BLOCK,
        in_flight=2 * _batch(machine)[0],
    )


def _batch(machine: Machine) -> tuple[int, int]:
    """vLLM's defaults for tokens and requests in one step (``EngineArgs.get_batch_defaults``)."""
    size = machine.gpu_bytes * _USABLE
    if size >= 160 * GIB:
        return 16384, 1024
    return (8192, 1024) if size >= 70 * GIB else (2048, 256)


def cpu_kv_cache_bytes(available_memory: int | None, *, builtin: bool) -> int:
    """Memory for the KV cache on a CPU, where vLLM itself would take 92% of all."""
    if builtin or available_memory is None:
        return GIB // 4
    # vLLM touches all of it at the start: about a second a GiB.
    return max(GIB // 4, min(2 * GIB, available_memory // 8))


def _on_gpus(
    candidate: Candidate, machine: Machine, wishes: Wishes, size: int, quantization: str | None
) -> Way:
    shape = candidate.shape
    tokens, requests = _batch(machine)
    # The widest moment: a batch between two layers, or the scores of the whole vocabulary (32 bit,
    # with the copies that sampling makes).
    batch = tokens * 2 * (4 * shape.hidden + 3 * shape.intermediate // size)
    scores = requests * shape.vocabulary * 4 * 3
    weights = candidate.weights.loaded_bytes(quantization) // size
    computing = _FIXED_BYTES + max(batch, scores) + int(weights * _WEIGHTS_MARGIN)
    if size > 1:
        computing += _PARALLEL_BYTES
    budget = int(machine.gpu_bytes * _USABLE * (wishes.utilization or UTILIZATION))
    return _way(candidate, machine, wishes, size, quantization, budget - weights - computing)


def _on_cpu(candidate: Candidate, machine: Machine, wishes: Wishes) -> Way:
    cache = kv_cache(candidate, machine, 1)
    weights = candidate.weights.loaded_bytes(wishes.quantization)
    room = machine.host_bytes
    available = cpu_kv_cache_bytes(room, builtin=candidate.builtin)
    if wishes.context:
        available = max(available, cache.bytes_for(wishes.context) + cache.block_bytes)
    if room is not None and not candidate.builtin:
        available = min(available, room - weights - _CPU_FIXED_BYTES)
    return _way(candidate, machine, wishes, 1, wishes.quantization, available)


def _way(
    candidate: Candidate,
    machine: Machine,
    wishes: Wishes,
    size: int,
    quantization: str | None,
    available: int,
) -> Way:
    cache = kv_cache(candidate, machine, size)
    context = cache.longest(available) if available > 0 else 0
    if context < candidate.shape.context:
        context -= context % _STEP
    shown = min(wishes.context or context, context)
    return Way(
        tensor_parallel=size,
        quantization=quantization,
        context=context,
        concurrency=round(cache.concurrency(available, shown), 1) if shown else 0.0,
        weight_bytes=candidate.weights.loaded_bytes(quantization) // size,
        kv_cache_bytes=max(0, available),
    )
