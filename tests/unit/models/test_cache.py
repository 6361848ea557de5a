"""What is on disk in MODELS_DIR, and whether it can be served."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from sandbox.models.cache import Repository, is_complete, list_models, similar_models

# No tensor at all, which is a whole file.
WEIGHTS = struct.pack("<Q", 92) + b"{}".ljust(92)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_model(cache: Path, model_id: str, *, used: float = 1.0) -> Repository:
    repository = Repository(cache, model_id)
    snapshot = repository.snapshot(COMMIT)
    snapshot.mkdir(parents=True)
    repository.blobs.mkdir()
    for name, content in (("config.json", b"{}"), ("model.safetensors", WEIGHTS)):
        (repository.blobs / name).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    repository.ref(None).parent.mkdir()
    repository.ref(None).write_text(COMMIT)
    os.utime(snapshot, (used, used))
    return repository


def test_a_snapshot_is_found_by_its_branch_and_by_its_commit(tmp_path: Path) -> None:
    repository = make_model(tmp_path, "owner/name")
    snapshot = repository.snapshot(COMMIT)
    assert repository.complete_snapshot(None) == snapshot
    assert repository.complete_snapshot("main") == snapshot
    assert repository.complete_snapshot(COMMIT) == snapshot
    assert repository.complete_snapshot("v2") is None


def test_a_snapshot_without_its_config_is_not_complete(tmp_path: Path) -> None:
    snapshot = make_model(tmp_path, "owner/name").snapshot(COMMIT)
    (snapshot / "config.json").unlink()
    assert not is_complete(snapshot)


def test_a_snapshot_whose_link_leads_nowhere_is_not_complete(tmp_path: Path) -> None:
    repository = make_model(tmp_path, "owner/name")
    (repository.blobs / "model.safetensors").unlink()
    assert not is_complete(repository.snapshot(COMMIT))


def test_a_snapshot_that_lacks_a_part_of_its_index_is_not_complete(tmp_path: Path) -> None:
    snapshot = make_model(tmp_path, "owner/name").snapshot(COMMIT)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not is_complete(snapshot)
    (snapshot / "model-2.safetensors").write_bytes(WEIGHTS)
    assert is_complete(snapshot)


def test_a_snapshot_whose_weights_are_cut_is_not_complete(tmp_path: Path) -> None:
    repository = make_model(tmp_path, "owner/name")
    os.truncate(repository.blobs / "model.safetensors", 50)
    assert not is_complete(repository.snapshot(COMMIT))


def test_models_are_listed_with_their_size_the_last_used_first(tmp_path: Path) -> None:
    make_model(tmp_path, "owner/old", used=1.0)
    new = make_model(tmp_path, "owner/new-model--with-dashes", used=2.0)
    (new.blobs / "abc.incomplete").write_bytes(bytes(50))
    (tmp_path / "cache").mkdir()
    models = list_models(tmp_path)
    assert [(m.model_id, m.size_bytes, m.partial_bytes, m.complete) for m in models] == [
        ("owner/new-model--with-dashes", 152, 50, True),
        ("owner/old", 102, 0, True),
    ]
    assert models[1].last_used == 1.0


def test_a_model_that_never_arrived_is_listed_as_not_complete(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "owner/name")
    repository.blobs.mkdir(parents=True)
    (repository.blobs / "abc.incomplete").write_bytes(bytes(50))
    (model,) = list_models(tmp_path)
    assert (model.partial_bytes, model.last_used, model.complete) == (50, None, False)


def test_a_cache_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert list_models(tmp_path / "absent") == []


def test_similar_ids_are_found_whatever_their_case(tmp_path: Path) -> None:
    make_model(tmp_path, "Qwen/Qwen3-0.6B")
    assert similar_models(tmp_path, "qwen/qwen3-06b") == ["Qwen/Qwen3-0.6B"]
    assert similar_models(tmp_path, "mistralai/Mistral-7B") == []
