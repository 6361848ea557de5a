"""What would help when a model does not fit, in sentences that name values to set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sandbox.models.plan import facts
from sandbox.models.plan.examine import Candidate
from sandbox.models.plan.fit import FP8, Wishes, choose
from sandbox.models.plan.known import candidate_of, relatives
from sandbox.models.plan.machine import Machine, linode
from sandbox.models.plan.words import gigabytes


def advise(candidate: Candidate, machine: Machine, wishes: Wishes) -> Iterator[str]:
    """The changes that would make it fit, the smallest first."""
    free = replace(wishes, context=None)
    if wishes.context and (way := choose(candidate, machine, free)):
        yield f"Set MAX_MODEL_LEN to at most {way.context}, or to auto."
    may_shrink = machine.has_fp8 and not candidate.shape.quantization
    if (
        may_shrink
        and wishes.quantization
        and choose(candidate, machine, replace(wishes, quantization=None))
    ):
        yield f"Set QUANTIZATION to {FP8} or to auto."
    alone = Wishes(utilization=wishes.utilization)
    if wishes.tensor_parallel and (way := choose(candidate, machine, alone)):
        yield f"Set TENSOR_PARALLEL_SIZE to {way.tensor_parallel} or to auto."
    if machine.gpus:
        for count in (2, 4, 8):
            if count > machine.gpus and choose(candidate, replace(machine, gpus=count), alone):
                yield f"{count} such GPUs would do."
                break
    if plan := cheapest_plan(candidate):
        about = facts.linode_plans()[plan]
        yield (
            f"The Linode plan {plan} would do ({about['gpus']} x {about['gpu_gb']} GB, about "
            f"${about['hourly']:.2f} an hour)."
        )
    if sibling := smaller_sibling(candidate, machine):
        yield f"{sibling.model} would fit here ({gigabytes(sibling.weights.bytes)} of weights)."


def cheapest_plan(candidate: Candidate) -> str | None:
    """The cheapest Linode plan that serves ``candidate``; they are listed by price."""
    return next(
        (name for name in facts.linode_plans() if choose(candidate, linode(name), Wishes())), None
    )


def smaller_sibling(candidate: Candidate, machine: Machine) -> Candidate | None:
    """The largest well-known model of the same family that fits, else of any family."""
    smaller = [
        other
        for name in facts.well_known()
        if (other := candidate_of(name)).weights.bytes < candidate.weights.bytes
        and choose(other, machine, Wishes())
    ]
    own = [other for other in smaller if relatives(candidate, other)]
    return max(own or smaller, key=lambda other: other.weights.bytes, default=None)
