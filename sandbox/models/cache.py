"""What lies in MODELS_DIR, in the cache layout of huggingface_hub: which models, and how whole.

models--OWNER--NAME/blobs/ETAG               a file's content, under the hub's checksum of it
models--OWNER--NAME/blobs/ETAG.incomplete    the part of it that has arrived
models--OWNER--NAME/snapshots/COMMIT/PATH    a link to a blob
models--OWNER--NAME/refs/REVISION            the commit that a branch or tag stood for
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from sandbox.models.source import is_sound

PARTIAL = ".incomplete"
# By the format of the weights: Hugging Face's and Mistral's.
CONFIGS = ("config.json", "params.json")
INDEXES = ("model.safetensors.index.json", "consolidated.safetensors.index.json")
_DEFAULT_REVISION = "main"
_COMMIT_LETTERS = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class CachedModel:
    """One repository in the cache; ``complete`` when its newest snapshot can be served."""

    model_id: str
    folder: Path
    # All that is on disk, of every revision and with what has arrived in part.
    size_bytes: int
    partial_bytes: int
    # Unix time; None when no snapshot is there yet.
    last_used: float | None
    complete: bool
    # The commits that are there, at least in part.
    revisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repository:
    """The place of one model in the cache, whether it is there or not."""

    cache: Path
    model_id: str

    @property
    def folder(self) -> Path:
        """Where everything of the model lies."""
        return self.cache / ("models--" + self.model_id.replace("/", "--"))

    @property
    def blobs(self) -> Path:
        """The contents of files, under their etags."""
        return self.folder / "blobs"

    @property
    def lock_file(self) -> Path:
        """Locked by who downloads; beside the locks of huggingface_hub."""
        return self.cache / ".locks" / self.folder.name / "ai-sandbox.lock"

    def snapshot(self, commit: str) -> Path:
        """The folder with the files of ``commit``."""
        return self.folder / "snapshots" / commit

    def ref(self, revision: str | None) -> Path:
        """The file that says which commit ``revision`` is."""
        return self.folder / "refs" / (revision or _DEFAULT_REVISION)

    def complete_snapshot(self, revision: str | None) -> Path | None:
        """The folder of ``revision`` when all that vLLM loads is there, else None."""
        try:
            commit = revision or ""
            if not is_commit(commit):
                commit = self.ref(revision).read_text(encoding="utf-8").strip()
            folder = self.snapshot(commit)
            return folder if is_commit(commit) and is_complete(folder) else None
        except (OSError, UnicodeDecodeError):
            return None


def is_commit(revision: str) -> bool:
    """True for the full name of a commit, whose files never change."""
    return len(revision) == 40 and set(revision) <= _COMMIT_LETTERS


def is_complete(folder: Path) -> bool:
    """True when the snapshot ``folder`` has a config and every file of weights, none of them cut.

    Downloads link config.json last, so that its presence means that of all other files.
    """
    if not any((folder / name).exists() for name in CONFIGS):
        return False
    for name in INDEXES:
        try:
            index = json.loads((folder / name).read_text(encoding="utf-8"))
            return all(is_sound(folder / file) for file in weights_of_index(index))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return False
    weights = list(folder.glob("*.safetensors"))
    return bool(weights) and all(is_sound(file) for file in weights)


def weights_of_index(index: object) -> set[str]:
    """The files that an index of safetensors names. Raises ``ValueError`` when it is none."""
    weights = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise ValueError("no index of safetensors")
    return {str(file) for file in weights.values()}


def mark_used(snapshot: Path) -> None:
    """Remember that the model was used now: access times are off on many file systems."""
    with contextlib.suppress(OSError):
        os.utime(snapshot)


def list_models(cache: Path) -> list[CachedModel]:
    """Every model in ``cache``, the one used last first. An unreadable one is left out."""
    found = []
    for folder in cache.glob("models--*--*"):
        repository = Repository(cache, folder.name.removeprefix("models--").replace("--", "/", 1))
        with contextlib.suppress(OSError):
            found.append(_look_at(repository))
    return sorted(found, key=lambda model: model.last_used or 0.0, reverse=True)


def _look_at(repository: Repository) -> CachedModel:
    blobs = {file: file.stat().st_size for file in repository.blobs.glob("*") if file.is_file()}
    used = {folder.stat().st_mtime: folder for folder in repository.snapshot("").glob("*")}
    newest = max(used, default=None)
    return CachedModel(
        model_id=repository.model_id,
        folder=repository.folder,
        size_bytes=sum(blobs.values()),
        partial_bytes=sum(size for file, size in blobs.items() if file.suffix == PARTIAL),
        last_used=newest,
        complete=newest is not None and is_complete(used[newest]),
        revisions=tuple(sorted(folder.name for folder in used.values())),
    )


def similar_models(cache: Path, model_id: str) -> list[str]:
    """Complete models in ``cache`` whose ids are close to ``model_id``, the closest first."""
    ids = {model.model_id.lower(): model.model_id for model in list_models(cache) if model.complete}
    return [ids[close] for close in difflib.get_close_matches(model_id.lower(), ids, cutoff=0.6)]
