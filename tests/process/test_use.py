"""`ai-sandbox use` and `ai-sandbox models`, against a service that runs and one that does not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.models.guide import guide_folder
from tests.process.api_service import COMMAND, environment, free_port, run, serving
from tests.process.hub_service import HubService, hub
from tests.process.processes import running, wait_until

COPY, OTHER, GATED = "owner/guide-copy", "owner/guide-other", "owner/gated"


@pytest.fixture(scope="module")
def far_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubService]:
    """A hub with copies of the guide model."""
    folder = tmp_path_factory.mktemp("far-end")
    for model in (COPY, OTHER, GATED):
        shutil.copytree(guide_folder(), folder / "hub" / model)
    (folder / "hub" / GATED / ".gated").touch()
    with hub(folder) as service:
        yield service


@pytest.fixture
def env_file(tmp_path: Path, far_end: HubService) -> Path:
    file = tmp_path / "box.env"
    file.write_text(f"# mine\nMODEL_ID=builtin:guide\nHF_ENDPOINT={far_end.url}\n")
    return file


@pytest.fixture
def port() -> str:
    return str(free_port())


def test_without_a_service_the_next_start_is_said_to_serve_it(
    tmp_path: Path, env_file: Path, port: str
) -> None:
    more = ["--revision", "main", "--env-file", str(env_file)]
    ended = run(tmp_path, "use", COPY, *more, API_PORT=port)
    assert ended.returncode == 0, ended.stderr
    assert f"its next start serves {COPY}" in ended.stdout
    lines = env_file.read_text().splitlines()
    assert lines[:2] == ["# mine", f"MODEL_ID={COPY}"]
    assert "MODEL_REVISION=main" in lines
    ended = run(tmp_path, "use", OTHER, "--env-file", str(env_file), API_PORT=port)
    assert ended.returncode == 0, ended.stderr
    # The revision belonged to the model before.
    assert "MODEL_REVISION=" in env_file.read_text().splitlines()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("owner/typo", "owner/typo was not found"),
        (GATED, "is gated"),
        ("/nowhere/at/all", "does not exist"),
        ("just-a-word", "neither a folder nor a Hugging Face id"),
    ],
)
def test_what_cannot_be_served_changes_nothing(
    tmp_path: Path, env_file: Path, port: str, model: str, sentence: str
) -> None:
    before = env_file.read_text()
    ended = run(tmp_path, "use", model, "--env-file", str(env_file), API_PORT=port)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert env_file.read_text() == before


def test_the_plan_can_be_overruled(tmp_path: Path, env_file: Path, port: str) -> None:
    env_file.write_text(env_file.read_text() + "MAX_MODEL_LEN=4096\n")
    refused = run(tmp_path, "use", COPY, "--env-file", str(env_file), API_PORT=port)
    assert refused.returncode == 1
    assert "MAX_MODEL_LEN is 4096" in refused.stderr
    forced = run(tmp_path, "use", COPY, "--force", "--env-file", str(env_file), API_PORT=port)
    assert forced.returncode == 0
    assert f"MODEL_ID={COPY}" in env_file.read_text()


def test_a_model_is_used_listed_and_removed(tmp_path: Path, env_file: Path, port: str) -> None:
    chosen = ["--env-file", str(env_file)]
    with serving(tmp_path, env_file, API_PORT=port) as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        pid = service.status()["pid"]
        for model in (COPY, OTHER):
            used = run(tmp_path, "use", model, *chosen, API_PORT=port)
            assert used.returncode == 0, used.stdout + used.stderr + service.tell()
            assert f"{model} is ready." in used.stdout
        status = service.status()
        assert (status["model"], status["pid"]) == (OTHER, pid)
        listed = json.loads(run(tmp_path, "models", "--json", *chosen, API_PORT=port).stdout)
        size = sum(file.stat().st_size for file in guide_folder().iterdir())
        facts = {
            row["model"]: (row["served"], row["complete"], row["size_bytes"]) for row in listed
        }
        assert facts == {OTHER: (True, True, size), COPY: (False, True, size)}
        assert listed[0]["model"] == OTHER
        table = run(tmp_path, "models", *chosen, API_PORT=port).stdout
        assert "served" in table.splitlines()[0]
        refused = run(tmp_path, "models", *chosen, "remove", OTHER, API_PORT=port)
        assert refused.returncode == 1
        assert "is served now" in refused.stderr
        removed = run(tmp_path, "models", *chosen, "remove", COPY, API_PORT=port)
        assert removed.returncode == 0, removed.stderr
        assert f"{size:,} bytes" in removed.stdout
        assert not (tmp_path / "models" / "models--owner--guide-copy").exists()
        broken = tmp_path / "broken"
        shutil.copytree(guide_folder(), broken)
        (broken / "tokenizer.json").write_text("{")
        failed = run(tmp_path, "use", str(broken), *chosen, API_PORT=port)
        assert failed.returncode == 1, failed.stdout
        assert "could not be loaded" in failed.stdout
        assert f"{OTHER} serves on." in failed.stdout
        assert f"MODEL_ID={OTHER}" in env_file.read_text()
        assert service.status()["next"]["state"] == "failed"


def test_a_model_in_the_environment_of_the_service_is_said_to_win(
    tmp_path: Path, env_file: Path, port: str
) -> None:
    before = env_file.read_text()
    with serving(tmp_path, API_PORT=port) as service:
        service.wait_for_port()
        ended = run(tmp_path, "use", COPY, "--env-file", str(env_file), API_PORT=port)
    assert ended.returncode == 1
    assert "wins over the env file" in ended.stderr
    assert env_file.read_text() == before


def test_a_folder_is_written_with_its_whole_path(tmp_path: Path, env_file: Path, port: str) -> None:
    shutil.copytree(guide_folder(), tmp_path / "mine")
    relative = os.path.relpath(tmp_path / "mine")
    ended = run(tmp_path, "use", relative, "--env-file", str(env_file), API_PORT=port)
    assert ended.returncode == 0, ended.stderr
    assert f"MODEL_ID={tmp_path}/mine\n" in env_file.read_text()


def test_what_somebody_else_asked_for_meanwhile_stays(tmp_path: Path, port: str) -> None:
    shutil.copytree(guide_folder(), tmp_path / "hub" / COPY)
    env_file = tmp_path / "box.env"
    with hub(tmp_path, bytes_per_second=100_000) as slow:
        text = f"HF_ENDPOINT={slow.url}\nMODEL_ID="
        env_file.write_text(f"{text}/nowhere\n")
        with serving(tmp_path, env_file, API_PORT=port) as service:
            service.wait_for("failed")
            command = [str(COMMAND), "use", COPY, "--env-file", str(env_file)]
            with running(command, tmp_path, environment(tmp_path, API_PORT=port)) as use:
                wait_until(lambda: service.status()["state"] == "downloading", 60, service.tell)
                use.wait_for("downloading")
                env_file.write_text(f"{text}/elsewhere\n")
                os.kill(service.status()["pid"], signal.SIGHUP)
                assert use.process.wait(60) == 1, use.output
            assert "/elsewhere does not exist" in use.output
    assert env_file.read_text() == f"{text}/elsewhere\n"


def test_a_model_that_downloads_is_not_removed(tmp_path: Path) -> None:
    shutil.copytree(guide_folder(), tmp_path / "hub" / COPY)
    with hub(tmp_path, bytes_per_second=200_000) as slow:
        settings = {"MODEL_ID": COPY, "HF_ENDPOINT": slow.url}
        with serving(tmp_path, **settings) as service:
            service.wait_for("downloading")
            blobs = tmp_path / "models/models--owner--guide-copy/blobs"
            wait_until(lambda: blobs.is_dir() and os.listdir(blobs), 60, service.tell)
            # As another program than the service does it: nobody answers on that port.
            refused = run(tmp_path, "models", "remove", COPY, API_PORT=str(free_port()))
            assert refused.returncode == 1
            assert "is being downloaded" in refused.stderr
            shown = run(tmp_path, "models", API_PORT=str(free_port()))
            assert "partial" in shown.stdout


def test_removing_what_is_not_there_names_what_is_close(
    tmp_path: Path, far_end: HubService
) -> None:
    settings = {"HF_ENDPOINT": far_end.url, "API_PORT": str(free_port())}
    assert run(tmp_path, "download", COPY, **settings).returncode == 0
    ended = run(tmp_path, "models", "remove", "owner/guide-cop", **settings)
    assert ended.returncode == 1
    assert f"Did you mean {COPY}?" in ended.stderr
    assert run(tmp_path, "models", "remove", **settings).returncode == 2
