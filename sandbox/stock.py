"""The verb ``models``: which models lie in MODELS_DIR, and freeing what one takes."""

from __future__ import annotations

import difflib
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox import report
from sandbox.errors import ExitCode, SandboxError
from sandbox.models.cache import CachedModel, Repository, list_models
from sandbox.models.download.progress import size
from sandbox.models.download.store import not_in_use
from sandbox.settings import Settings


def print_models(settings: Settings, as_json: bool) -> int:
    """Print every model on disk, the one used last first."""
    models = list_models(settings.models_dir)
    served, coming = _in_service(report.ask(settings))
    rows = [_row(model, served, coming) for model in models]
    if as_json:
        print(json.dumps(rows, indent=2))
        return ExitCode.OK
    if not rows:
        print(f"No model is in {settings.models_dir} (MODELS_DIR).")
        return ExitCode.OK
    width = max(len(row["model"]) for row in rows)
    for row in rows:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["last_used"] or 0))
        revisions = ", ".join(revision[:12] for revision in row["revisions"])
        whole = "complete" if row["complete"] else "partial"
        state = "served" if row["served"] else "being prepared" if row["coming"] else ""
        words = [row["model"].ljust(width), size(row["size_bytes"]).rjust(9), whole.ljust(8)]
        words += [(used if row["last_used"] else "never used").ljust(16), revisions, state]
        print("  ".join(words).rstrip())
    total = sum(model.size_bytes for model in models)
    free = shutil.disk_usage(settings.models_dir).free
    print(f"{size(total)} in {settings.models_dir}, {size(free)} are free.")
    return ExitCode.OK


def remove(settings: Settings, model_id: str) -> int:
    """Remove all of ``model_id`` from MODELS_DIR and print the bytes freed.

    Raises ``SandboxError`` for one that serves, is on its way, or is not there.
    """
    models = {model.model_id: model for model in list_models(settings.models_dir)}
    model = models.get(model_id)
    if model is None:
        close = difflib.get_close_matches(model_id, models, cutoff=0.5)
        raise SandboxError(
            f"{model_id} is not in {settings.models_dir} (MODELS_DIR).",
            f"Did you mean {' or '.join(close)}?" if close else "`ai-sandbox models` lists all.",
        )
    status = report.ask(settings)
    if status and status["switching"]:
        raise SandboxError(
            "One model takes the place of another just now, and may have to go back.",
            "Try again when `ai-sandbox status` says ready.",
        )
    for used, what in zip(_in_service(status), ("is served now", "is being prepared"), strict=True):
        # Either by its id, or as the folder that has it here.
        if model_id == used or Path(used).is_relative_to(model.folder):
            raise SandboxError(
                f"{model_id} {what}, so it stays.",
                "Serve another one first: ai-sandbox use MODEL_ID",
            )
    try:
        with not_in_use(Repository(settings.models_dir, model_id)) as unused:
            if not unused:
                raise SandboxError(
                    f"{model_id} is being downloaded, so it stays.", "Stop the download first."
                )
            shutil.rmtree(model.folder)
    except OSError as error:
        raise SandboxError(
            f"{error.filename} cannot be removed: {error.strerror}.",
            "Run this as root, or as the user who owns MODELS_DIR.",
        ) from None
    print(f"Removed {model_id}: {size(model.size_bytes)} ({model.size_bytes:,} bytes) are free.")
    return ExitCode.OK


def _in_service(status: dict[str, Any] | None) -> tuple[str, str]:
    """The ids of the model that serves, or is meant to, and of the one to come; or nothing."""
    if status is None:
        return "", ""
    following = status["next"]
    coming = following["model_id"] if following and following["state"] != "failed" else ""
    return status["model_id"], coming


def _row(model: CachedModel, served: str, coming: str) -> dict[str, Any]:
    facts = asdict(model)
    facts["model"] = facts.pop("model_id")
    facts["folder"] = str(model.folder)
    facts["revisions"] = list(model.revisions)
    return facts | {"served": model.model_id == served, "coming": model.model_id == coming}
