"""Settings to a plan: what they fix, which machine is meant, where the model's files are."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace

from sandbox.errors import SandboxError
from sandbox.models.cache import Repository, is_commit
from sandbox.models.download.hub import Hub, HubUnreachableError
from sandbox.models.plan.decide import Plan, decide
from sandbox.models.plan.errors import UnplannableError
from sandbox.models.plan.examine import Candidate, examine_folder
from sandbox.models.plan.fit import Wishes
from sandbox.models.plan.machine import Machine, this_machine
from sandbox.models.plan.remote import examine_repository
from sandbox.models.source import HubModel, LocalModel
from sandbox.settings import Settings

log = logging.getLogger(__name__)

_TRUST = "--trust-remote-code"
_DTYPE = "--dtype"


def wishes_of(settings: Settings) -> Wishes:
    """What the settings fix; ``auto`` leaves it to the plan."""
    return Wishes(
        context=None if settings.max_model_len == "auto" else settings.max_model_len,
        tensor_parallel=(
            None if settings.tensor_parallel_size == "auto" else settings.tensor_parallel_size
        ),
        quantization=None if settings.quantization == "auto" else settings.quantization,
        utilization=(
            None if settings.gpu_memory_utilization == "auto" else settings.gpu_memory_utilization
        ),
    )


def examine(model: LocalModel | HubModel, settings: Settings) -> Candidate:
    """Look at the files of ``model``, in a folder or on the hub; downloads no weights.

    A complete download is looked at in place of a hub that refuses or does not answer, as it is
    served then. Raises ``HubUnreachableError`` when a later try may help, and ``SandboxError`` for
    what it would not change.
    """
    if isinstance(model, LocalModel):
        return examine_folder(model.model_id, model.folder, builtin=model.builtin)
    hub, cache = Hub.of(settings), settings.models_dir
    folder = Repository(cache, model.model_id).complete_snapshot(model.revision)
    if folder and (hub.offline or is_commit(model.revision or "")):
        return examine_folder(model.model_id, folder)
    try:
        return examine_repository(model, hub, cache)
    except UnplannableError:
        raise
    except SandboxError:
        if folder is None:
            raise
        return examine_folder(model.model_id, folder)


def plan_for(
    model: LocalModel | HubModel,
    settings: Settings,
    machine: Machine | None = None,
    held_bytes: int = 0,
) -> Plan:
    """The decision for ``model`` on ``machine``, which is this one if not given.

    ``held_bytes`` of its memory are in use by what goes before the model is loaded.
    """
    candidate = examine(model, settings)
    machine = machine or this_machine(settings.models_dir, held_bytes)
    if _DTYPE in settings.vllm_extra_args:
        # What somebody chose to compute in is kept.
        machine = replace(machine, has_16_bit_floats=True)
    return decide(
        candidate, machine, wishes_of(settings), trust_code=_TRUST in settings.vllm_extra_args
    )


def checked(model: LocalModel | HubModel, settings: Settings, held_bytes: int = 0) -> Plan | None:
    """The plan by which the launcher starts; None when it must start without one.

    ``held_bytes`` as in ``plan_for``.

    Raises ``SandboxError`` when the plan says that a start is bound to fail. Flags of the user's
    own may change what is needed (``--cpu-offload-gb`` for example): then it is only logged.
    """
    try:
        plan = plan_for(model, settings, held_bytes=held_bytes)
    except (HubUnreachableError, UnplannableError) as error:
        log.warning("%s", error.message)
        return None
    if plan.problem is None:
        return plan
    if not shlex.split(settings.vllm_extra_args):
        raise plan.problem
    log.warning("%s It is tried because VLLM_EXTRA_ARGS is set.", plan.problem.message)
    return None


def shortened(plan: Plan, context: int) -> Plan:
    """``plan`` with the context that vLLM measured to fit, when that is shorter."""
    reason = f"vLLM measured that {context:,} tokens fit."
    return replace(plan, context_length=context, reasons=(*plan.reasons, reason))


def failure(error: SandboxError, model: str) -> dict[str, object]:
    """What ``--json`` prints for a model that could not be looked at."""
    return {
        "model": model,
        "fits": False,
        "reasons": [error.message],
        "advice": [error.hint] if error.hint else [],
    }
