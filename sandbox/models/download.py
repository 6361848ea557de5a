"""A Hugging Face repository to files in MODELS_DIR, in the hub client's own cache layout."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.models.source import HubModel

# What vLLM loads for a model in the Hugging Face layout, and nothing twice: Mistral's own format
# (params.json, consolidated*) and Meta's (original/) repeat the same weights.
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py"]
_UNWANTED = [
    "consolidated*",
    "params.json",
    "original/*",
    "onnx/*",
    "openvino/*",
    "*/*.safetensors",
]

# Of this machine and not of the network: the same at every try.
_LOCAL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}

Report = Callable[[int, int | None, float | None], None]


class HubUnreachableError(SandboxError):
    """The hub did not answer; trying again later may help."""


def fetch(model: HubModel, cache: Path, token: str | None, report: Report) -> Path:
    """Bring the files of ``model`` into ``cache`` and return the folder of this revision. Blocks.

    ``report(done, total, rate)`` is called about twice a second from another thread, in bytes
    and bytes per second. Raises ``HubUnreachableError`` when another try may help, and
    ``SandboxError`` when it will not.
    """
    # Seconds to import: only where a download is wanted.
    from httpx2 import TransportError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    name = f"{model.model_id} at revision {model.revision}" if model.revision else model.model_id
    try:
        info = HfApi(token=token).model_info(
            model.model_id, revision=model.revision, files_metadata=True, timeout=20
        )
        files = list(
            filter_repo_objects(
                info.siblings or [],
                allow_patterns=_WANTED,
                ignore_patterns=_UNWANTED,
                key=lambda file: file.rfilename,
            )
        )
        if not any(f.rfilename.endswith(".safetensors") for f in files):
            raise SandboxError(
                f"{name} has no safetensors weights, which are the only ones loaded here.",
                "Choose a repository with .safetensors files; most models have one.",
            )
        total = sum(f.size or 0 for f in files)
        with _Meter(cache / _cache_name(model.model_id) / "blobs", total, report):
            return _snapshot(model, cache, token)
    except GatedRepoError:
        raise SandboxError(
            f"{name} is gated: its owner wants you to accept the terms first.",
            f"Accept them at https://huggingface.co/{model.model_id}, then set HF_TOKEN to a "
            "token of that account.",
        ) from None
    except RevisionNotFoundError:
        raise SandboxError(
            f"{model.model_id} has no revision {model.revision!r}.", "Correct MODEL_REVISION."
        ) from None
    except RepositoryNotFoundError:
        raise SandboxError(
            f"{model.model_id} was not found on Hugging Face.",
            "Check MODEL_ID for a typo; a private model also needs HF_TOKEN.",
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, TransportError, OSError) as error:
        cached = _cached(model, cache)
        if cached:
            return cached
        raise _explain(error, name, cache) from None


def _explain(error: Exception, name: str, cache: Path) -> SandboxError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    answer = getattr(error, "response", None)
    status = answer.status_code if answer is not None else None
    if status == 401:
        return SandboxError(
            "Hugging Face does not accept the token in HF_TOKEN.",
            "Make a new one at https://huggingface.co/settings/tokens, or remove it.",
        )
    if status == 403:
        return SandboxError(
            f"The account of HF_TOKEN may not read {name}.",
            "Ask the model's owner for access, or use a token of an account that has it.",
        )
    # 408 and 429 mean later, as every 5xx does.
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return SandboxError(f"Hugging Face refuses {name}: {reason}", "Check MODEL_ID.")
    if isinstance(error, OSError) and error.errno in _LOCAL_ERRORS:
        return SandboxError(
            f"{name} cannot be written to {cache} (MODELS_DIR): {error.strerror}.",
            "Make room there, let this user write there, or set MODELS_DIR to another folder.",
        )
    return HubUnreachableError(
        f"{name} could not be downloaded: {reason}", "It is tried again by itself."
    )


def _cache_name(model_id: str) -> str:
    return "models--" + model_id.replace("/", "--")


def _snapshot(model: HubModel, cache: Path, token: str | None, *, local: bool = False) -> Path:
    """The folder of the files that are wanted: downloaded, or only what lies in the cache."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            model.model_id,
            # By name and not as the commit: the cache remembers what the name stood for, for
            # starts without the hub.
            revision=model.revision,
            cache_dir=cache,
            token=token,
            # The cache counts as complete only for the selection that was downloaded.
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            local_files_only=local,
        )
    )


def _cached(model: HubModel, cache: Path) -> Path | None:
    """The folder of an earlier complete download, for when the hub is out of reach."""
    try:
        folder = _snapshot(model, cache, None, local=True)
    except OSError:
        return None
    return folder if any(folder.glob("*.safetensors")) else None


class _Meter:
    """Reports how many bytes lie in a folder of downloads while files arrive there."""

    def __init__(self, folder: Path, total: int, report: Report) -> None:
        self._folder = folder
        self._total = total
        self._report = report
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download-meter", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        start, first = time.monotonic(), self._bytes()
        while not self._stop.wait(0.5):
            done = self._bytes()
            rate = (done - first) / (time.monotonic() - start)
            self._report(min(done, self._total), self._total or None, rate or None)

    def _bytes(self) -> int:
        total = 0
        for file in self._folder.glob("*"):
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                continue
        return total
