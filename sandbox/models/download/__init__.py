"""A Hugging Face repository to files in MODELS_DIR: only what vLLM loads, each byte once.

Nothing here needs vLLM: the installer downloads the model before vLLM is installed.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from sandbox import __version__
from sandbox.errors import SandboxError
from sandbox.models.cache import (
    INDEXES,
    Repository,
    is_commit,
    mark_used,
    similar_models,
    weights_of_index,
)
from sandbox.models.download import store
from sandbox.models.download.hub import (
    Hub,
    HubUnreachableError,
    RemoteFile,
    complete_metadata,
    display_name,
    explain,
    list_files,
)
from sandbox.models.download.progress import Meter, Report, size
from sandbox.models.download.selection import choose
from sandbox.models.download.transfer import StoppedError, bring_all, client
from sandbox.models.source import HubModel

__all__ = [
    "RETRY_SECONDS",
    "Hub",
    "HubUnreachableError",
    "Report",
    "StoppedError",
    "fetch",
    "missing_bytes",
]

log = logging.getLogger(__name__)

# Pauses after ``HubUnreachableError``; the last one repeats.
RETRY_SECONDS = (5.0, 15.0, 60.0)
_FULL = {errno.ENOSPC, errno.EDQUOT}
# Left free: a tenth of what is to come, at most this.
_MAX_RESERVE_BYTES = 2_000_000_000


def fetch(
    model: HubModel,
    cache: Path,
    hub: Hub,
    report: Report,
    stop: threading.Event | None = None,
) -> Path:
    """Bring the files of ``model`` into ``cache`` and return the folder of this revision. Blocks.

    ``report(done, total, rate)`` is called about twice a second from another thread, in bytes
    and bytes per second; not at all when nothing is missing. What an earlier call, in whatever
    process, has left unfinished is continued. When the hub cannot be asked, a complete earlier
    download is returned. Once ``stop`` is set it ends soon, by ``StoppedError``, and what has
    arrived stays.

    Raises ``HubUnreachableError`` when another try may help, and ``SandboxError`` when it will
    not.
    """
    repository = Repository(cache, model.model_id)
    here = repository.complete_snapshot(model.revision)
    # The files of a commit never change: there is nothing to ask.
    if here and (hub.offline or is_commit(model.revision or "")):
        mark_used(here)
        return here
    if hub.offline:
        raise SandboxError(
            f"{display_name(model)} is not complete in {cache} (MODELS_DIR), and HF_HUB_OFFLINE "
            "forbids to download it.",
            _similar_hint(cache, model) or "Remove HF_HUB_OFFLINE, or copy the model there.",
        )
    stop = stop or threading.Event()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with store.locked(repository, report, stop) as plan:
            here = _bring(model, repository, hub, report, plan, stop)
    except Exception as error:
        here = _instead(error, model, repository, hub)
    mark_used(here)
    return here


def missing_bytes(model: HubModel, cache: Path, hub: Hub) -> int:
    """How much of ``model`` is still to be fetched. Raises ``SandboxError``."""
    repository = Repository(cache, model.model_id)
    if hub.offline or repository.complete_snapshot(model.revision):
        return 0
    try:
        files = list_files(hub, model).files
    except Exception as error:
        raise explain(error, hub, model, cache) from None
    wanted = (files[path] for path in choose(files, display_name(model)))
    whole = sum(file.size for file in wanted if file)
    here = sum(blob.stat().st_size for blob in repository.blobs.glob("*"))
    return max(0, whole - here)


def _bring(
    model: HubModel,
    repository: Repository,
    hub: Hub,
    report: Report,
    plan: store.Plan,
    stop: threading.Event,
) -> Path:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    listing = list_files(hub, model)
    files = complete_metadata(hub, model, listing, choose(listing.files, display_name(model)))

    def address(path: str) -> str:
        return hf_hub_url(model.model_id, path, revision=listing.commit, endpoint=hub.endpoint)

    repository.blobs.mkdir(parents=True, exist_ok=True)
    headers = build_hf_headers(
        token=hub.token, library_name="ai-sandbox", library_version=__version__
    )
    with client(headers) as web:

        def bring(absent: Sequence[RemoteFile]) -> None:
            try:
                bring_all(absent, address, web, repository.blobs, stop)
            except OSError as error:
                if error.errno in _FULL:
                    raise _full(files, repository, model) from None
                raise

        index = [file for file in files if file.path in INDEXES]
        bring(store.missing(repository, index))
        files = _without_unused_weights(files, index, repository)
        plan.publish(files)
        store.remove_partials(repository, keep=files)
        absent = store.missing(repository, files)
        if absent:
            _check_space(absent, repository, model)
            sizes = {file.etag: file.size for file in files}
            whole = sum(sizes.values())
            with Meter(lambda: (store.bytes_here(repository, sizes), whole), report):
                bring(absent)
    here = store.link(repository, listing.commit, model.revision, files)
    store.remove_partials(repository)
    return here


def _without_unused_weights(
    files: Sequence[RemoteFile], index: Sequence[RemoteFile], repository: Repository
) -> list[RemoteFile]:
    """``files`` without the weights beside the model that vLLM leaves out as its index does."""
    if not index:
        return list(files)
    text = (repository.blobs / index[0].etag).read_bytes()
    try:
        used = weights_of_index(json.loads(text))
    except ValueError:
        raise SandboxError(
            f"{repository.model_id} has a broken {index[0].path}.", "Choose another model."
        ) from None
    absent = used - {file.path for file in files}
    if absent:
        raise SandboxError(
            f"{repository.model_id} lacks {min(absent)}, which its {index[0].path} names.",
            "Choose another model or MODEL_REVISION.",
        )
    return [f for f in files if f.path in used or not _is_weights_of_model(f.path)]


def _is_weights_of_model(path: str) -> bool:
    return path.endswith(".safetensors") and "/" not in path


def _needed(absent: Sequence[RemoteFile], repository: Repository) -> int:
    sizes = {file.etag: file.size for file in absent}
    return sum(sizes.values()) - store.bytes_here(repository, sizes)


def _check_space(absent: Sequence[RemoteFile], repository: Repository, model: HubModel) -> None:
    needed = _needed(absent, repository)
    reserve = min(needed // 10, _MAX_RESERVE_BYTES)
    free = shutil.disk_usage(repository.cache).free
    if free < needed + reserve:
        raise SandboxError(
            f"{display_name(model)} needs {size(needed + reserve)} in {repository.cache} "
            f"(MODELS_DIR), and {size(free)} are free there.",
            f"Free {size(needed + reserve - free)}, set MODELS_DIR to a folder on a larger disk, "
            "or choose a smaller model.",
        )


def _full(files: Sequence[RemoteFile], repository: Repository, model: HubModel) -> SandboxError:
    """Give the space back, which others need too, and say what is missing."""
    absent = store.missing(repository, files)
    here = store.bytes_here(repository, {file.etag: file.size for file in absent})
    store.remove_partials(repository)
    needed = _needed(absent, repository)
    free = shutil.disk_usage(repository.cache).free
    return SandboxError(
        f"The disk of {repository.cache} (MODELS_DIR) became full while {display_name(model)} was "
        f"downloading: {size(here)} of it were removed again, {size(needed)} are needed and "
        f"{size(free)} are free now.",
        "Free some space, set MODELS_DIR to a folder on a larger disk, or choose a smaller model; "
        "then start again.",
    )


def _instead(error: Exception, model: HubModel, repository: Repository, hub: Hub) -> Path:
    """A complete earlier download, or ``error`` as a sentence, raised."""
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, SandboxError):
        why = error
    # TRANSFORMERS_OFFLINE makes huggingface_hub raise a ConnectionError.
    elif isinstance(error, (HfHubHTTPError, HTTPError, InvalidURL, ConnectionError)):
        why = explain(error, hub, model, repository.cache)
    elif isinstance(error, OSError):
        why = _explain_local(error, repository.cache, model)
    else:
        raise error
    here = repository.complete_snapshot(model.revision)
    if not here:
        raise why from None
    log.warning("%s What was downloaded before is served.", why.message)
    return here


def _explain_local(error: OSError, cache: Path, model: HubModel) -> SandboxError:
    if error.errno in _FULL:
        free = size(shutil.disk_usage(cache).free)
        return SandboxError(
            f"{display_name(model)} cannot be downloaded: the disk of {cache} (MODELS_DIR) is "
            f"full, {free} are free.",
            "Free some space, or set MODELS_DIR to a folder on a larger disk.",
        )
    return SandboxError(
        f"{display_name(model)} cannot be written to {error.filename or cache} (MODELS_DIR is "
        f"{cache}): {error.strerror or error}.",
        "Let this user write there, or set MODELS_DIR to another folder.",
    )


def _similar_hint(cache: Path, model: HubModel) -> str:
    close = " or ".join(similar_models(cache, model.model_id))
    return f"Did you mean {close}, which is there?" if close else ""
