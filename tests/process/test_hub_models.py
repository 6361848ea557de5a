"""A model id is downloaded with the real hub client and served."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from sandbox.models.guide import guide_folder
from sandbox.models.guide.topics import read_topics
from tests.process.api_service import serving
from tests.process.hub_service import hub, write_safetensors
from tests.process.processes import wait_until

TOPIC = read_topics()[5]
MODEL = "owner/guide-copy"


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
        hub(tmp_path, bytes_per_second=800_000) as far_end,
        serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT=far_end.url) as service,
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


def test_kill_9_of_the_service_at_10_50_and_90_percent_costs_no_byte_twice(
    tmp_path: Path, repository: Path
) -> None:
    # Large enough that the header, which each start reads for its plan, does not count.
    write_safetensors(repository / "model.safetensors", 12_000_000)
    size = sum((repository / file.name).stat().st_size for file in guide_folder().iterdir())
    blobs = tmp_path / "models" / ("models--" + MODEL.replace("/", "--")) / "blobs"

    def arrived() -> int:
        total = 0
        for file in blobs.glob("*"):
            # One that is whole gets its name at this moment.
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size
        return total

    with hub(tmp_path, bytes_per_second=2_000_000) as far_end:
        for percent in (10, 50, 90):
            with serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT=far_end.url) as service:
                wait_until(lambda: arrived() >= size * percent / 100, 120, service.tell)  # noqa: B023
                service.program.process.kill()
                service.program.process.wait()
            assert arrived() < size
        with serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT=far_end.url) as service:
            assert service.wait_for("loading")["state"] == "loading", service.tell()
        assert sum(far_end.served().values()) <= 1.1 * size
    assert not list(blobs.glob("*.incomplete"))


def test_a_models_folder_that_cannot_be_made_is_failed_and_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT="http://127.0.0.1:9") as service:
        assert "MODELS_DIR" in service.wait_for("failed")["message"]


def test_a_download_that_breaks_off_goes_on_by_itself(tmp_path: Path, repository: Path) -> None:
    with hub(tmp_path) as far_end:
        # The listing answers; the files do not, for longer than a transfer is patient.
        far_end.set_faults({"path": "/cdn/", "status": 503})
        with serving(tmp_path, MODEL_ID=MODEL, HF_ENDPOINT=far_end.url) as service:
            service.wait_for_port()
            wait_until(
                lambda: "could not be downloaded" in service.status()["message"], 120, service.tell
            )
            far_end.set_faults()
            assert service.wait_for("loading")["state"] == "loading", service.tell()
