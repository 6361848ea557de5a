"""The verb ``use``: another model in the env file, and in service while the old one answers."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sandbox import reach, report
from sandbox.env_file import set_values
from sandbox.errors import ExitCode, SandboxError
from sandbox.host import systemctl
from sandbox.host.processes import is_alive, private_bytes
from sandbox.models.download import HubUnreachableError
from sandbox.models.guide import GUIDE_ID
from sandbox.models.plan.chosen import plan_for
from sandbox.models.plan.errors import UnplannableError
from sandbox.models.source import named_folder, resolve
from sandbox.paths import Paths
from sandbox.settings import Loaded, Settings, read_env_file

_LOOK_SECONDS = 0.5
# Settings are read at once; between two models, only when the running answers have ended and the
# one engine is stopped.
_READ_SECONDS = 120.0


def run(
    loaded: Loaded, env_file: Path | None, model_id: str, revision: str | None, force: bool
) -> int:
    """Write the env file, reload the service, and print what it does until the model answers.

    Raises ``SandboxError``, with nothing changed, when the model cannot be served, the file cannot
    be written, or the running service is not to be reloaded by this user.
    """
    paths = Paths.here()
    model_id = _whole(model_id)
    wanted = loaded.settings.model_copy(
        update={"model_id": model_id, "model_revision": revision or None}
    )
    before = report.ask(loaded.settings)
    if before:
        reach.check(before["pid"], paths, "MODEL_ID")
    if not force:
        _check_plan(wanted, (before or {}).get("details", {}).get("engine_pids", []))
    file = env_file or paths.env_file
    sample = paths.sample
    values = {"MODEL_ID": model_id, "MODEL_REVISION": revision or ""}
    old = _present(file, values)
    set_values(file, values, sample if sample.exists() else None)
    print(f"{file} says MODEL_ID={model_id} now.", flush=True)
    if before is None:
        print(f"No AI Sandbox answers now; its next start serves {model_id}.")
        return ExitCode.OK
    reach.reload(before["pid"], paths)
    try:
        code = _follow(wanted, before, file)
    except KeyboardInterrupt:
        print("\nThe service goes on by itself; `ai-sandbox status` says how far it is.")
        return ExitCode.FAILURE
    if code != ExitCode.OK:
        # The next start is to serve what works. The service still tells of the failure. Another
        # model, which somebody else has asked for meanwhile, stays.
        if _present(file, values) == values:
            set_values(file, old)
            print(f"{file} says MODEL_ID={old['MODEL_ID']} again.")
    elif (before["model_id"] == GUIDE_ID) != (model_id == GUIDE_ID):
        _refresh_page(paths)
    return code


def _whole(model_id: str) -> str:
    """A folder with its whole path: the service works in another one, as another user."""
    folder = named_folder(model_id)
    return os.path.abspath(folder) if folder else model_id


def _present(file: Path, names: Iterable[str]) -> dict[str, str]:
    values = read_env_file(file) if file.exists() else {}
    return {name: values[name].value if name in values else "" for name in names}


def _check_plan(settings: Settings, engine_pids: list[int]) -> None:
    model = resolve(settings.model_id, settings.model_revision)
    held = private_bytes(engine_pids)
    try:
        plan = plan_for(model, settings, held_bytes=held)
    except UnplannableError as error:
        # vLLM may know better, and the model that serves now stays until it does.
        print(error.message)
        return
    except HubUnreachableError as error:
        raise SandboxError(
            f"{error.message} Nothing was changed.",
            "Try again later; with --force the service tries again by itself until it can.",
        ) from None
    if plan.problem and not shlex.split(settings.vllm_extra_args):
        raise SandboxError(f"{plan.problem.message} Nothing was changed.", plan.problem.hint)


def _follow(wanted: Settings, before: dict[str, Any], file: Path) -> int:
    """Print each new sentence until ``wanted`` answers or has failed."""
    said = ""
    has_failed = False
    deadline = time.monotonic() + _READ_SECONDS
    while True:
        status = report.ask(wanted)
        if status is None and is_alive(before["pid"]):
            # Busy for a moment.
            pass
        elif status is None or status["pid"] != before["pid"]:
            if has_failed:
                return ExitCode.FAILURE
            raise SandboxError(
                f"The service ended while {wanted.served_name} was made ready.",
                f"Its log says why. {file} says MODEL_ID={wanted.model_id} now.",
            )
        elif status["reloads"] == before["reloads"]:
            if time.monotonic() > deadline:
                raise SandboxError(
                    "The service does not read its settings.",
                    f"Restart it; its log may say why. {file} says MODEL_ID={wanted.model_id} now.",
                )
        else:
            has_failed = bool(status["next"] and status["next"]["state"] == "failed")
            message = _message(status)
            if message != said:
                said = message
                print(message, flush=True)
            code = _outcome(status, wanted.model_id)
            if code is not None:
                return code
        time.sleep(_LOOK_SECONDS)


def _message(status: dict[str, Any]) -> str:
    """What goes on now; a download in steps of 10%, so that a log stays short."""
    step = status["next"] or status
    percent = (step["progress"] or {}).get("percent")
    if percent is not None:
        return f"{step['model']} is downloading: {10 * int(percent // 10)}%"
    return f"{step['message']} {step['hint']}".strip()


def _outcome(status: dict[str, Any], model_id: str) -> int | None:
    """The exit code once nothing goes on any more; None until then."""
    following = status["next"]
    if following and following["state"] == "failed" and not status["switching"]:
        if status["state"] == "ready":
            print(f"{status['model']} serves on.")
        return ExitCode.FAILURE
    # A model that failed while the next one was on its way is not the end.
    if following or status["state"] not in ("ready", "failed"):
        return None
    if status["state"] == "failed":
        return ExitCode.FAILURE
    # By its id: the name may be one that every model is given.
    if status["model_id"] == model_id:
        return ExitCode.OK
    print(f"{status['model']} serves on. {status['notice']}")
    return ExitCode.FAILURE


def _refresh_page(paths: Paths) -> None:
    """Have the chat page offer questions for the new model: it reads them at its start.

    The model itself it finds without that.
    """
    if paths.is_clone:
        print("The chat page offers other questions from its next start on.")
    elif systemctl.is_active(reach.PAGE_UNIT):
        print("The chat page is restarted: its suggested questions are others now.", flush=True)
        systemctl.restart(reach.PAGE_UNIT)
