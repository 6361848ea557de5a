"""A model id is downloaded with the real hub client and served; mistakes are explained."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.models.guide import guide_folder
from sandbox.models.guide.topics import read_topics
from tests.process.api_service import free_port, serving
from tests.process.processes import running

TOPIC = read_topics()[5]
MODEL = "owner/guide-copy"


@contextlib.contextmanager
def hub(folder: Path, bytes_per_second: int = 0) -> Iterator[str]:
    """The stand-in with one model; gives its address for HF_ENDPOINT."""
    port = free_port()
    command = [sys.executable, "-m", "tests.standins.hub", str(folder / "hub"), str(port)]
    with running([*command, str(bytes_per_second)], folder) as program:
        program.wait_for("listening")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "hub" / MODEL
    shutil.copytree(guide_folder(), folder)
    # The same weights in another format, as some repositories have them.
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    (folder / "pytorch_model.bin").write_bytes(bytes(1000))
    return folder


def test_a_model_is_downloaded_once_with_progress_and_served(
    tmp_path: Path, repository: Path
) -> None:
    with (
        hub(tmp_path, bytes_per_second=800_000) as endpoint,
        serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT=endpoint) as service,
    ):
        status = service.wait_for("downloading")
        while status["state"] == "downloading" and not status["progress"]:
            status = service.status()
        total = sum(f.stat().st_size for f in guide_folder().iterdir())
        assert status["progress"]["total_bytes"] == total
        assert "is downloading" in status["message"]
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        answer = service.ask(TOPIC.question, model=MODEL).json()
        assert answer["choices"][0]["message"]["content"] == TOPIC.answer
    files = {file.name for file in (tmp_path / "models").rglob("*") if file.is_symlink()}
    assert "model.safetensors" in files
    assert not files & {"consolidated.safetensors", "pytorch_model.bin"}
    # The hub is gone: what was downloaded serves on.
    with serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT="http://127.0.0.1:9") as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()


def test_an_unknown_model_is_failed_and_explained(tmp_path: Path, repository: Path) -> None:
    with (
        hub(tmp_path) as endpoint,
        serving(tmp_path, MODEL_ID="owner/typo", HF_ENDPOINT=endpoint) as service,
    ):
        status = service.wait_for("failed")
        assert status["message"] == "owner/typo was not found on Hugging Face."
        assert "MODEL_ID" in status["hint"]


def test_a_gated_model_is_failed_and_says_what_to_do(tmp_path: Path, repository: Path) -> None:
    (repository / ".gated").touch()
    with (
        hub(tmp_path) as endpoint,
        serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT=endpoint) as service,
    ):
        status = service.wait_for("failed")
        assert "is gated" in status["message"]
        assert "HF_TOKEN" in status["hint"]


def test_a_wrong_token_is_failed_and_named(tmp_path: Path, repository: Path) -> None:
    with (
        hub(tmp_path) as endpoint,
        serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT=endpoint, HF_TOKEN="hf_wrong") as service,
    ):
        status = service.wait_for("failed")
        assert "HF_TOKEN" in status["message"], service.tell()
        assert "hf_wrong" not in service.program.output


def test_a_models_folder_that_cannot_be_made_is_failed_and_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT="http://127.0.0.1:9") as service:
        assert "MODELS_DIR" in service.wait_for("failed")["message"]


def test_an_unreachable_hub_is_tried_again(tmp_path: Path) -> None:
    with serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT="http://127.0.0.1:9") as service:
        service.wait_for("downloading")
        while "could not be downloaded" not in service.status()["message"]:
            assert service.status()["state"] == "downloading", service.tell()
        assert "tried again" in service.status()["hint"]
