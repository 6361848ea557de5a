"""What the hub says of a repository, through huggingface_hub, and its refusals as sentences."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import __version__
from sandbox.errors import SandboxError
from sandbox.models.cache import is_commit, similar_models
from sandbox.models.source import HubModel
from sandbox.settings import Settings

_ANSWER_SECONDS = 20
_MAX_WAIT_SECONDS = 3600.0
# An etag is a file name here: the sha256 of the content, or git's name of a small file.
_ETAG = re.compile(r"[0-9A-Za-z._-]{1,128}")


class HubUnreachableError(SandboxError):
    """The hub did not answer; trying again may help, not before ``retry_after`` seconds."""

    retry_after: float = 0.0


@dataclass(frozen=True)
class Hub:
    """Which hub is asked, and with which token."""

    endpoint: str
    token: str | None = None
    offline: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Hub:
        """As the settings say."""
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        return cls(settings.hf_endpoint, token, settings.hf_hub_offline)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its path there, its size in bytes, the name of its content."""

    path: str
    size: int
    etag: str


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit, by path; None where the hub said too little."""

    commit: str
    files: dict[str, RemoteFile | None]


def list_files(hub: Hub, model: HubModel) -> Listing:
    """Ask the hub what ``model`` consists of. Raises what huggingface_hub raises."""
    from huggingface_hub import HfApi

    api = HfApi(
        endpoint=hub.endpoint,
        token=hub.token,
        library_name="ai-sandbox",
        library_version=__version__,
    )
    try:
        info = api.model_info(
            model.model_id, revision=model.revision, files_metadata=True, timeout=_ANSWER_SECONDS
        )
    except (ValueError, KeyError, TypeError):
        raise _no_hub(hub, model) from None
    if not is_commit(info.sha or ""):
        raise _no_hub(hub, model)
    files: dict[str, RemoteFile | None] = {}
    for file in info.siblings or []:
        # It becomes a path on this machine.
        if file.rfilename.startswith("/") or ".." in file.rfilename.split("/"):
            continue
        etag = file.lfs.sha256 if file.lfs else file.blob_id
        known = file.size is not None and etag and _ETAG.fullmatch(etag)
        files[file.rfilename] = (
            RemoteFile(file.rfilename, file.size or 0, etag or "") if known else None
        )
    return Listing(str(info.sha), files)


def _no_hub(hub: Hub, model: HubModel) -> HubUnreachableError:
    # A login page of a network, a proxy's own answer.
    return HubUnreachableError(
        f"{display_name(model)} could not be downloaded: {hub.endpoint} does not answer as "
        "Hugging Face does.",
        "Check the network and HF_ENDPOINT; it is tried again by itself.",
    )


def complete_metadata(
    hub: Hub, model: HubModel, listing: Listing, paths: Sequence[str]
) -> list[RemoteFile]:
    """The files ``paths``; what a mirror left out of its listing is asked for one by one."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    files = []
    for path in paths:
        file = listing.files[path]
        if file is None:
            found = get_hf_file_metadata(
                hf_hub_url(model.model_id, path, revision=listing.commit, endpoint=hub.endpoint),
                token=hub.token,
                timeout=_ANSWER_SECONDS,
            )
            if found.size is None or not found.etag or not _ETAG.fullmatch(found.etag):
                raise SandboxError(
                    f"{hub.endpoint} does not say how large {path} of {model.model_id} is.",
                    "Set HF_ENDPOINT to another mirror, or remove it.",
                )
            file = RemoteFile(path, found.size, found.etag)
        files.append(file)
    return files


def explain(error: Exception, hub: Hub, model: HubModel, cache: Path) -> SandboxError:
    """What a person can do about ``error``, which came from the hub or on the way to it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = display_name(model)
    if isinstance(error, GatedRepoError) and not hub.token:
        return SandboxError(
            f"{name} is gated: its owner wants you to accept the terms first.",
            f"Accept them at https://huggingface.co/{model.model_id}, then set HF_TOKEN to a "
            "token of that account.",
        )
    if isinstance(error, RevisionNotFoundError):
        return SandboxError(
            f"{model.model_id} has no revision {model.revision!r}.", "Correct MODEL_REVISION."
        )
    if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
        close = " or ".join(similar_models(cache, model.model_id))
        meant = f"Did you mean {close}, which is on this machine? " if close else ""
        return SandboxError(
            f"{model.model_id} was not found on Hugging Face.",
            f"{meant}Check MODEL_ID for a typo; a private model also needs HF_TOKEN.",
        )
    return _explain_status(error, hub, model)


def _explain_status(error: Exception, hub: Hub, model: HubModel) -> SandboxError:
    name = display_name(model)
    answer = getattr(error, "response", None)
    status = answer.status_code if answer is not None else 0
    if status == 401:
        return SandboxError(
            "Hugging Face does not accept the token in HF_TOKEN.",
            "Make a new one at https://huggingface.co/settings/tokens, or remove it.",
        )
    # Only the hub itself knows about permissions; another host has an address that expired.
    ours = answer is not None and str(answer.url).startswith(hub.endpoint)
    if status == 403 and ours:
        return SandboxError(
            f"The account of HF_TOKEN may not read {name}.",
            f"Accept the terms at https://huggingface.co/{model.model_id}, ask the owner for "
            "access, or use a token of an account that has it.",
        )
    reason = _reason(error, hub)
    # 408 and 429 mean later, as every 5xx does.
    if 400 <= status < 500 and status not in (408, 429) and ours:
        return SandboxError(f"{name} cannot be downloaded: {reason}.", "Check MODEL_ID.")
    unreachable = HubUnreachableError(
        f"{name} could not be downloaded: {reason}.",
        "It is tried again by itself, and goes on where it stopped.",
    )
    if answer is not None:
        unreachable.retry_after = retry_after(answer.headers.get("Retry-After", ""))
    return unreachable


def _reason(error: Exception, hub: Hub) -> str:
    """What the network or a server said, without addresses: they may be signed."""
    from httpx2 import TimeoutException

    answer = getattr(error, "response", None)
    if answer is not None:
        return f"{answer.url.host} answered {answer.status_code} {answer.reason_phrase}"
    if isinstance(error, TimeoutException):
        return f"{hub.endpoint} did not answer in time"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{hub.endpoint} did not answer ({lines[0].rstrip('.') if lines else repr(error)})"


def display_name(model: HubModel) -> str:
    """The model as messages name it."""
    return f"{model.model_id} at revision {model.revision}" if model.revision else model.model_id


def retry_after(value: str) -> float:
    """Seconds to wait by the HTTP header Retry-After, a number or a date; from 0 to an hour."""
    if value.strip().isdigit():
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            seconds = 0.0
    return min(max(0.0, seconds), _MAX_WAIT_SECONDS)
