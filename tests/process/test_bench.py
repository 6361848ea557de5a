"""`ai-sandbox bench` measures the model that runs, and says why when it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from tests.process.api_service import ApiService, free_port, run, serving


def port_of(api: ApiService) -> str:
    return api.url.rpartition(":")[2]


def test_figures_and_a_picture_of_the_running_model(api: ApiService, tmp_path: Path) -> None:
    picture = tmp_path / "speed.svg"
    words = ["bench", "--most", "2", "--seconds", "1", "--picture", str(picture)]
    done = run(tmp_path, *words, "--json", API_PORT=port_of(api))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [level["streams"] for level in found["levels"]] == [1, 2]
    assert all(level["tokens_per_second"] > 0 for level in found["levels"])
    assert all(level["ttft_p50"] > 0 and not level["errors"] for level in found["levels"])
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_figures_are_printed_for_people(api: ApiService, tmp_path: Path) -> None:
    words = ["bench", "--most", "1", "--seconds", "1", "--picture", str(tmp_path / "a.svg")]
    done = run(tmp_path, *words, API_PORT=port_of(api))
    assert done.returncode == 0, done.stderr
    assert "tokens/s" in done.stdout


def test_a_picture_that_cannot_be_written_is_said_before_anything_is_asked(
    api: ApiService, tmp_path: Path
) -> None:
    done = run(tmp_path, "bench", "--picture", "/nowhere/a.svg", API_PORT=port_of(api))
    assert done.returncode == 1
    assert "The picture /nowhere/a.svg cannot be written" in done.stderr


def test_without_a_model_that_answers_there_is_nothing_to_measure(tmp_path: Path) -> None:
    done = run(tmp_path, "bench", API_PORT=str(free_port()))
    assert done.returncode == 1
    assert "There is nothing to measure. No AI Sandbox answers" in done.stderr


def test_a_box_that_needs_a_key_is_measured_with_one(tmp_path: Path) -> None:
    words = ["bench", "--most", "1", "--seconds", "1", "--picture", str(tmp_path / "a.svg")]
    with serving(tmp_path, API_KEY="the-key-of-this-box") as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        refused = run(tmp_path, *words, API_PORT=port_of(service))
        assert refused.returncode == 78
        assert "This API needs a key.\n`ai-sandbox keys add bench` makes one" in refused.stderr
        done = run(tmp_path, *words, API_PORT=port_of(service), API_KEY="the-key-of-this-box")
        assert done.returncode == 0, done.stderr
        assert "tokens/s" in done.stdout
        assert "the-key-of-this-box" not in done.stdout + done.stderr
