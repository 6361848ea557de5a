"""What the progress page and the log are told of an installation."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.install.timeline import Timeline


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run/progress.json"


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def step(file: Path, name: str) -> dict[str, Any]:
    (found,) = [s for s in read(file)["steps"] if s["name"] == name]
    assert isinstance(found, dict)
    return found


def test_the_page_sees_each_step_begin_and_end(file: Path) -> None:
    with Timeline(file, "a/model", io.StringIO()) as timeline:
        timeline.begin("api")
        assert step(file, "Environment of the API")["state"] == "running"
        timeline.end("api")
        assert step(file, "Environment of the API")["state"] == "done"
    assert read(file)["state"] == "done"
    assert read(file)["model"] == "a/model"


def test_a_failure_names_step_reason_way_out_and_log(file: Path) -> None:
    with Timeline(file, "", io.StringIO()) as timeline:
        timeline.begin("driver")
        timeline.fail("driver", "No driver.", "Get one.", Path("/log"))
    assert read(file)["state"] == "failed"
    assert read(file)["failure"] == {
        "step": "GPU driver",
        "reason": "No driver.",
        "hint": "Get one.",
        "log": "/log",
    }


def test_percent_is_100_when_all_that_counts_is_done(file: Path) -> None:
    timeline = Timeline(file, "", io.StringIO())
    for key in ("prepare", "settings", "packages", "driver", "api", "check", "ui", "model"):
        timeline.end(key)
    assert timeline.as_json()["percent"] < 100
    timeline.end("accounts")
    timeline.end("services", "skipped")
    assert timeline.as_json()["percent"] == 100


def test_a_step_that_runs_long_never_counts_as_done(file: Path) -> None:
    timeline = Timeline(file, "", io.StringIO())
    timeline.begin("api")
    timeline._began_at["api"] -= 100_000
    share = timeline.as_json()["percent"]
    timeline.end("api")
    assert 0 < share < timeline.as_json()["percent"]


def test_the_next_process_goes_on_where_the_first_handed_over(file: Path) -> None:
    with Timeline(file, "m", io.StringIO()) as first:
        first.begin("prepare")
        first.end("prepare")
        first.hand_over()
    second = Timeline.resume(file, "m", io.StringIO())
    assert second.as_json()["began"] == first.as_json()["began"]
    assert second.as_json()["steps"][0]["state"] == "done"


def test_what_an_ended_installation_left_is_not_gone_on_with(file: Path) -> None:
    with Timeline(file, "m", io.StringIO()) as first:
        first.end("prepare")
    second = Timeline.resume(file, "m", io.StringIO())
    assert second.as_json()["steps"][0]["state"] == "waiting"


def test_news_of_one_sort_is_said_once_in_a_while(file: Path) -> None:
    out = io.StringIO()
    timeline = Timeline(file, "", out)
    timeline.say("api", "installing 3 packages: fetching torch")
    timeline.say("api", "installing 3 packages: fetching vllm")
    timeline.say("api", "something else")
    assert out.getvalue().count("\n") == 2


def test_a_folder_that_cannot_be_written_does_not_end_the_installation(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Timeline(tmp_path / "file/progress.json", "", io.StringIO()) as timeline:
        timeline.begin("api")


def test_the_page_gets_one_sentence_and_the_log_all_of_it(file: Path) -> None:
    out = io.StringIO()
    reason = "The environment could not be made:\nerror: https://me:secret@mirror"
    with Timeline(file, "", out) as timeline:
        assert not timeline.has_failed
        timeline.fail("api", reason, f"{'long ' * 100}\nits newest log lines", None)
        assert timeline.has_failed
    assert "secret" not in file.read_text()
    assert "newest" not in file.read_text()
    assert read(file)["failure"]["reason"] == "The environment could not be made."
    assert len(read(file)["failure"]["hint"]) == 300
    assert "secret@mirror" in out.getvalue()
