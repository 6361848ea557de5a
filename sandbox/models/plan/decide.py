"""The decision: how a model is loaded on a machine, or in words why not and what would help."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from sandbox.errors import SandboxError
from sandbox.models.plan import facts
from sandbox.models.plan.advice import advise
from sandbox.models.plan.examine import Candidate
from sandbox.models.plan.fit import (
    COMFORTABLE_CONTEXT,
    FP8,
    Way,
    Wishes,
    choose,
    kv_cache,
    splits,
    undivided,
    ways,
    widened,
)
from sandbox.models.plan.machine import Machine
from sandbox.models.plan.words import gib, gigabytes

# Such boxes load 14 GB in 3 to 5 minutes.
_DOWNLOAD_BYTES_PER_SECOND = 60_000_000


@dataclass(frozen=True)
class Plan:
    """What was decided; ``way`` is None when the model cannot be served."""

    candidate: Candidate
    machine: Machine
    way: Way | None
    context_length: int
    reasons: tuple[str, ...]
    # What would help, when it does not fit.
    advice: tuple[str, ...] = ()
    problem: SandboxError | None = field(default=None, compare=False)

    @property
    def quantization(self) -> str | None:
        """The weights' quantization once loaded: vLLM's doing, or the checkpoint's own."""
        return (self.way.quantization if self.way else None) or self.candidate.shape.quantization

    @property
    def loaded(self) -> Candidate:
        """The model as it is loaded; the candidate is as its files say."""
        in_32_bits = self.way is not None and self.way.dtype == "float32"
        return widened(self.candidate) if in_32_bits else self.candidate

    @property
    def details(self) -> dict[str, Any]:
        """For the status: what a person may want to know of the model and of the decision."""
        candidate, way = self.loaded, self.way
        found = {
            "architecture": candidate.shape.architecture,
            "parameters": candidate.weights.parameters,
            "weight_bytes": candidate.weights.bytes,
            "kv_bytes_per_token": kv_cache(candidate, self.machine, 1).bytes_per_token,
            "reasons": list(self.reasons),
        }
        if way is None:
            return found
        return found | {
            "context_length": self.context_length,
            "concurrency": way.concurrency,
            "quantization": self.quantization,
            "tensor_parallel_size": way.tensor_parallel,
        }

    def as_json(self) -> dict[str, Any]:
        """What ``ai-sandbox plan --json`` prints; sizes in bytes."""
        candidate, machine, way = self.candidate, self.machine, self.way
        return {
            "model": candidate.model,
            "architecture": candidate.shape.architecture,
            "parameters": candidate.weights.parameters,
            "weight_bytes": candidate.weights.bytes,
            "kv_bytes_per_token": kv_cache(candidate, machine, 1).bytes_per_token,
            "dtype": candidate.shape.dtype,
            "loaded_dtype": self.loaded.shape.dtype if way else None,
            "machine": machine.name,
            "gpus": machine.gpus,
            "gpu_memory_bytes": machine.gpu_bytes,
            "memory_bytes": machine.host_bytes,
            "fits": way is not None,
            "tensor_parallel_size": way.tensor_parallel if way else None,
            "context_length": self.context_length if way else None,
            "model_context_length": candidate.shape.context,
            "quantization": self.quantization,
            "concurrency": way.concurrency if way else None,
            "loaded_weight_bytes_per_device": way.weight_bytes if way else None,
            "kv_cache_bytes_per_device": way.kv_cache_bytes if way else None,
            "download_bytes": candidate.download_bytes,
            "download_seconds": round(candidate.download_bytes / _DOWNLOAD_BYTES_PER_SECOND),
            "disk_free_bytes": machine.disk_bytes,
            "reasons": list(self.reasons),
            "advice": list(self.advice),
        }


def decide(
    candidate: Candidate,
    machine: Machine,
    wishes: Wishes | None = None,
    *,
    trust_code: bool = False,
) -> Plan:
    """How ``candidate`` is loaded on ``machine``; ``problem`` of the plan says why it is not."""
    wishes = wishes or Wishes()
    problem = _mistake(candidate, machine, wishes, trust_code)
    if problem:
        return Plan(candidate, machine, None, 0, (problem.message,), (problem.hint,), problem)
    way = choose(candidate, machine, wishes)
    if way is None:
        reason = _why_not(candidate, machine, wishes)
        advice = tuple(advise(candidate, machine, wishes))
        problem = SandboxError(reason, " ".join(advice))
        return Plan(candidate, machine, None, 0, (reason,), advice, problem)
    context = wishes.context or way.context
    reasons = tuple(_why(candidate, machine, wishes, way, context))
    return Plan(candidate, machine, way, context, reasons)


def _mistake(
    candidate: Candidate, machine: Machine, wishes: Wishes, trust_code: bool
) -> SandboxError | None:
    """What no machine would change."""
    shape, name = candidate.shape, candidate.model
    known = facts.knows(shape.architecture) or facts.runs_through_transformers(shape.architecture)
    if shape.needs_code and not trust_code:
        return SandboxError(
            f"{name} runs only with Python code of its repository, which could do anything on this "
            "machine.",
            "Choose another model; or, if you trust its author, set "
            "VLLM_EXTRA_ARGS=--trust-remote-code.",
        )
    if not known and not trust_code:
        dropped = facts.dropped_since(shape.architecture)
        return SandboxError(
            f"{name} has the architecture {shape.architecture or '(none)'}, which vLLM 0.32 "
            + (
                f"does not know any more (it did until {dropped})." if dropped else "does not know."
            ),
            "Choose another model; https://docs.vllm.ai/en/stable/models/supported_models lists "
            "what can be served.",
        )
    if (
        wishes.context
        and wishes.context > shape.context
        and not os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN")
    ):
        return SandboxError(
            f"MAX_MODEL_LEN is {wishes.context}, but {name} has a context of {shape.context} "
            "tokens.",
            f"Set it to at most {shape.context}, or to auto.",
        )
    size = wishes.tensor_parallel
    if size:
        most = machine.gpus or size
        able = [n for n in range(1, most + 1) if not undivided(candidate, n)]
        hint = f"Set it to {' or '.join(map(str, able))}, or to auto."
        if machine.gpus and size > machine.gpus:
            return SandboxError(
                f"TENSOR_PARALLEL_SIZE is {size}, but there are {machine.gpus} GPUs.", hint
            )
        if undivided(candidate, size):
            return SandboxError(
                f"TENSOR_PARALLEL_SIZE is {size}, but the {undivided(candidate, size)} of {name} "
                f"cannot be divided by {size}.",
                hint,
            )
    return None


def _why(
    candidate: Candidate, machine: Machine, wishes: Wishes, way: Way, context: int
) -> list[str]:
    shape = candidate.shape
    place = "the GPU" if machine.gpus == 1 else "each GPU" if machine.gpus else "memory"
    found = [
        f"The weights take {gib(way.weight_bytes)} of {place}, which leaves "
        f"{gib(way.kv_cache_bytes)} for the KV cache."
    ]
    if not machine.gpus:
        found[0] = (
            f"There is no GPU: the weights take {gib(way.weight_bytes)} of memory, the KV "
            f"cache is given {gib(way.kv_cache_bytes)}."
        )
    if way.dtype:
        found.append(
            "It is computed in 32 bits: this processor has no 16 bit floats and would take several "
            "times as long."
        )
    if way.quantization == FP8 and not wishes.quantization:
        found.append(
            "The weights are quantized to 8 bits while they load: with 16 bits there would be "
            f"too little room for a context of {min(COMFORTABLE_CONTEXT, shape.context):,} tokens."
        )
    if wishes.context:
        found.append(f"MAX_MODEL_LEN asks for a context of {context:,} tokens, which fits.")
    elif context == shape.context:
        found.append(f"The model's whole context of {context:,} tokens fits.")
    else:
        found.append(f"Of the model's context of {shape.context:,} tokens, {context:,} fit.")
    if machine.gpus > 1 and not wishes.tensor_parallel:
        if way.tensor_parallel == 1:
            found.append("One GPU is enough; the others stay free.")
        else:
            found.append(f"It is split over {way.tensor_parallel} of {machine.gpus} GPUs.")
        left_out = undivided(candidate, machine.gpus)
        if left_out and way.tensor_parallel < machine.gpus:
            found.append(f"The model's {left_out} cannot be divided by {machine.gpus}.")
    if shape.state_layers:
        found.append("Some layers keep a state in place of a KV cache; its size is an estimate.")
    if not facts.knows(shape.architecture):
        found.append(
            "vLLM has no code of its own for this architecture and uses that of Transformers, "
            "which is slower."
        )
    if machine.disk_bytes is not None and candidate.download_bytes > machine.disk_bytes:
        found.append(
            f"The disk is too small: {gigabytes(candidate.download_bytes)} are to be downloaded, "
            f"{gigabytes(machine.disk_bytes)} are free."
        )
    return found


def _why_not(candidate: Candidate, machine: Machine, wishes: Wishes) -> str:
    name = candidate.model
    weights = gib(candidate.weights.loaded_bytes(wishes.quantization))
    if not machine.gpus:
        free = gib(machine.host_bytes or 0)
        return f"{name} does not fit: its weights take {weights}, and {free} of memory are free."
    total = f"{machine.gpus} x " if machine.gpus > 1 else ""
    here = f"{total}{gib(machine.gpu_bytes)} of GPU memory"
    if not splits(candidate, machine, wishes):
        return f"{name} cannot be split over {machine.gpus} GPUs."
    tried = list(ways(candidate, machine, wishes))
    best = max(way.context for way in tried)
    if wishes.context and best:
        return (
            f"{name} does not fit with the MAX_MODEL_LEN of {wishes.context}: beside its weights "
            f"({weights}) {here} leaves room for {best:,} tokens."
        )
    quantized = " even with 8 bit weights" if any(w.quantization == FP8 for w in tried) else ""
    return (
        f"{name} does not fit{quantized}: its weights take {weights}, and there is {here}, of "
        "which vLLM needs 2 to 4 GB on each GPU for computing."
    )
