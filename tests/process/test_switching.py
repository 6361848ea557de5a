"""One model takes the place of another while people use it, and goes back when it cannot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.models.guide import guide_folder
from sandbox.models.guide.topics import read_topics
from tests.process.api_service import ApiService, run, serving
from tests.process.hub_service import HubService, hub
from tests.process.processes import shared_memory, wait_until

TOPIC = read_topics()[5]
GATED, COPY = "owner/gated", "owner/guide-copy"
# Each switch loads a model; AI_SANDBOX_SWITCHES=20 is what the product promises to survive.
SWITCHES = int(os.environ.get("AI_SANDBOX_SWITCHES", "6"))


@dataclass
class Box:
    """A service, its env file and a hub. Model ``a`` serves at first."""

    folder: Path
    service: ApiService
    hub: HubService

    @property
    def env_file(self) -> Path:
        return self.folder / "box.env"

    def write(self, text: str) -> None:
        self.env_file.write_text(f"HF_ENDPOINT={self.hub.url}\n{text}")

    def reload(self, text: str | None = None) -> dict[str, Any]:
        """Change the env file and reload; the status once the file was read."""
        if text is not None:
            self.write(text)
        before = self.service.status()
        os.kill(before["pid"], signal.SIGHUP)
        wait_until(lambda: self.service.status()["reloads"] > before["reloads"], 30)
        return self.service.status()

    def settled(self) -> dict[str, Any]:
        """The status once nothing goes on any more."""

        def is_settled() -> bool:
            status = self.service.status()
            going = status["next"] and status["next"]["state"] != "failed"
            return status["state"] in ("ready", "failed") and not going

        wait_until(is_settled, 300, self.service.tell)
        return self.service.status()

    def answers(self, model: str) -> bool:
        answer = self.service.ask(TOPIC.question, model=model).json()
        return bool(answer["choices"][0]["message"]["content"] == TOPIC.answer)

    def forget_downloads(self) -> None:
        """As if no model had ever been fetched. Model ``a`` is not one of them."""
        shutil.rmtree(self.folder / "models/models--owner--guide-copy", ignore_errors=True)

    def local(self, name: str, breaking: Callable[[Path], None] | None = None) -> str:
        """The env file's text for a copy of the guide with this name."""
        folder = self.folder / name
        if not folder.exists():
            shutil.copytree(guide_folder(), folder)
            if breaking:
                breaking(folder)
        return f"MODEL_ID={folder}\nSERVED_MODEL_NAME={name}\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("switching")
    for model in (COPY, GATED):
        shutil.copytree(guide_folder(), folder / "hub" / model)
    (folder / "hub" / GATED / ".gated").touch()
    env_file = folder / "box.env"
    env_file.touch()
    with hub(folder, bytes_per_second=1_500_000) as far_end:
        box = Box(folder, ApiService.__new__(ApiService), far_end)
        box.write(box.local("a"))
        (folder / "tmp").mkdir()
        with serving(folder, env_file, TMPDIR=str(folder / "tmp")) as service:
            box.service = service
            yield box


@pytest.fixture
def box(shared: Box) -> Box:
    """Model ``a`` serves, and nothing else goes on; in the same process all the time."""
    shared.service.wait_for_port()
    # Whatever the test before has left.
    shared.hub.set_faults()
    shared.reload(shared.local("a"))
    status = shared.settled()
    assert (status["state"], status["model"]) == ("ready", "a"), shared.service.tell()
    return shared


def test_the_old_model_answers_while_the_next_downloads(box: Box) -> None:
    box.forget_downloads()
    pid = box.service.status()["pid"]
    # Shown from the first moment: who asked does not take what serves for what was asked for.
    assert box.reload(f"MODEL_ID={COPY}\n")["next"]["model_id"] == COPY

    def has_progress() -> bool:
        following = box.service.status()["next"]
        return bool(following and following["progress"] and following["progress"]["percent"])

    wait_until(has_progress, 60, box.service.tell)
    status = box.service.status()
    assert (status["state"], status["model"]) == ("ready", "a")
    assert status["next"]["state"] == "downloading"
    assert status["next"]["message"].startswith(f"{COPY} is downloading: ")
    assert box.answers("a")
    port = box.service.url.rpartition(":")[2]
    shown = run(box.folder, "status", API_PORT=port)
    assert shown.returncode == 0
    assert f"{COPY} is downloading" in shown.stdout
    status = box.settled()
    assert (status["state"], status["model"], status["next"]) == ("ready", COPY, None)
    assert status["pid"] == pid
    assert [phase["state"] for phase in status["phases"]] == ["loading", "ready"]
    assert box.answers(COPY)
    listed = httpx.get(f"{box.service.url}/v1/models").json()["data"]
    assert [model["id"] for model in listed] == [COPY]


def test_a_running_stream_ends_well_and_a_new_request_waits(box: Box) -> None:
    body = {
        "model": "a",
        "messages": [{"role": "user", "content": TOPIC.question}],
        "stream": True,
        # Eight of 500: it lasts until the switch begins, and ends within the 30 s that it then has.
        "max_tokens": 500,
        "ignore_eos": True,
        "n": 8,
        "temperature": 1,
    }
    lines: list[str] = []
    begun = threading.Event()

    def read() -> None:
        url = f"{box.service.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=120) as answer:
            for line in filter(None, answer.iter_lines()):
                lines.append(line)
                begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(60)
    box.reload(box.local("b"))
    wait_until(lambda: box.service.status()["switching"], 120, box.service.tell)
    # Sent while no model takes requests.
    assert box.answers("b")
    reader.join(60)
    assert lines[-1] == "data: [DONE]"
    assert not any('"error"' in line for line in lines)


def with_a_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def with_tensors_of_another_shape(folder: Path) -> None:
    header = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("MODEL_ID=owner/typo\n", "owner/typo was not found"),
        (f"MODEL_ID={GATED}\n", "is gated"),
        ("MODEL_ID=/nowhere/at/all\n", "does not exist"),
        ("MODEL_ID=builtin:guide\nMAX_MODEL_LEN=4096\n", "MAX_MODEL_LEN is 4096"),
        ("MODEL_ID=builtin:guide\nVLLM_EXTRA_ARGS=--no-such-flag\n", "--no-such-flag"),
        (
            "MODEL_ID=builtin:guide\nVLLM_EXTRA_ARGS='--max-model-len 4096'\n",
            "could not be loaded",
        ),
    ],
)
def test_a_model_that_cannot_be_had_leaves_the_old_one_serving(
    box: Box, text: str, sentence: str
) -> None:
    engine = box.service.engine_pids()
    box.reload(text)
    status = box.settled()
    assert (status["state"], status["model"]) == ("ready", "a"), box.service.tell()
    assert status["next"]["state"] == "failed"
    assert sentence in status["next"]["message"]
    assert status["next"]["hint"]
    # It never stopped.
    assert box.service.engine_pids() == engine
    assert box.answers("a")


@pytest.mark.parametrize("breaking", [with_a_broken_tokenizer, with_tensors_of_another_shape])
def test_a_model_that_cannot_be_loaded_leaves_the_old_one_serving(
    box: Box, breaking: Callable[[Path], None]
) -> None:
    name = breaking.__name__
    box.reload(box.local(name, breaking))
    status = box.settled()
    assert (status["state"], status["model"]) == ("ready", "a"), box.service.tell()
    assert status["next"]["state"] == "failed"
    assert status["next"]["message"].startswith(f"{name} could not be loaded: ")
    assert not status["switching"]
    assert box.answers("a")


def test_the_old_model_comes_back_though_it_cannot_be_loaded_at_once(box: Box) -> None:
    tokenizer = box.folder / "a" / "tokenizer.json"
    whole = tokenizer.read_text()
    box.reload(box.local("misshapen", with_tensors_of_another_shape))
    wait_until(lambda: box.service.status()["switching"], 120, box.service.tell)
    # As any passing reason, such as memory that is not free yet.
    tokenizer.write_text("{")
    try:
        wait_until(lambda: box.service.status()["restarts"] > 0, 300, box.service.tell)
    finally:
        tokenizer.write_text(whole)
    status = box.settled()
    assert (status["state"], status["model"]) == ("ready", "a"), box.service.tell()
    assert status["next"]["message"].startswith("misshapen could not be loaded: ")
    assert box.answers("a")


def with_a_config_of_its_own_kind(folder: Path) -> None:
    (folder / "own.py").write_text(
        "from transformers import LlamaConfig\n"
        "class OwnConfig(LlamaConfig):\n"
        "    model_type = 'own'\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))


def test_code_of_a_model_runs_only_where_the_setting_allows_it(box: Box) -> None:
    text = box.local("own", with_a_config_of_its_own_kind)
    box.reload(text)
    status = box.settled()
    assert (status["state"], status["model"]) == ("ready", "a"), box.service.tell()
    assert "which could do anything on this machine" in status["next"]["message"]
    assert "VLLM_EXTRA_ARGS=--trust-remote-code" in status["next"]["hint"]
    box.reload(f"{text}VLLM_EXTRA_ARGS=--trust-remote-code\n")
    status = box.settled()
    assert (status["state"], status["model"]) == ("ready", "own"), box.service.tell()
    assert box.answers("own")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("", "Nothing has changed for a."),
        ("this is no assignment\n", "line 4 is not an assignment"),
        ("MODLE_ID=gpt2\n", "Did you mean MODEL_ID?"),
        ("VLLM_EXTRA_ARGS='--port 9000'\n", "set API_PORT instead"),
        ("UI_PORT=3999\n", "UI_PORT changed, which takes a restart of the chat page"),
        ("HF_HUB_OFFLINE=true\n", "HF_HUB_OFFLINE changed, which takes a restart of the service"),
        ("API_PORT=8123\n", "API_PORT of"),
    ],
)
def test_what_a_reload_cannot_do_is_said(box: Box, more: str, sentence: str) -> None:
    engine = box.service.engine_pids()
    status = box.reload(box.local("a") + more)
    assert sentence in status["notice"]
    assert status["next"] is None
    assert box.service.engine_pids() == engine
    assert box.answers("a")


def test_a_new_key_is_asked_for_at_once(box: Box) -> None:
    status = box.reload(box.local("a") + "API_KEY=a-long-enough-key\n")
    assert status["key_needed"]
    assert "a-long-enough-key" not in json.dumps(status)
    assert box.service.ask("Hello", model="a").status_code == 401
    status = box.reload(box.local("a"))
    assert not status["key_needed"]
    assert box.answers("a")


def test_an_engine_that_dies_meanwhile_is_replaced(box: Box) -> None:
    box.hub.set_faults({"path": COPY, "status": 503, "times": 1000})
    box.forget_downloads()
    box.reload(f"MODEL_ID={COPY}\n")

    def is_waiting() -> bool:
        following = box.service.status()["next"]
        return bool(following and "could not be downloaded" in following["message"])

    wait_until(is_waiting, 60, box.service.tell)
    # Another test of this service may have had one replaced already.
    restarts = box.service.status()["restarts"]
    os.kill(box.service.engine_pids()[0], signal.SIGKILL)
    wait_until(lambda: box.service.status()["restarts"] > restarts, 60, box.service.tell)
    wait_until(lambda: box.service.status()["state"] == "ready", 120, box.service.tell)
    status = box.service.status()
    assert (status["model"], status["next"]["state"]) == ("a", "downloading")
    box.hub.set_faults()
    # A changed mind ends it.
    assert box.reload(box.local("a"))["next"] is None
    assert box.answers("a")


@pytest.mark.long
def test_switches_leave_nothing_behind(box: Box) -> None:
    pid = box.service.status()["pid"]
    # Other programs of this machine come and go in /dev/shm.
    ours: set[str] = set()

    def held() -> tuple[int, ...]:
        ours.update(shared_memory(box.service.program.living()))
        return (
            len(list((box.folder / "tmp").rglob("*"))),
            len(os.listdir(f"/proc/{pid}/fd")),
            len(os.listdir(f"/proc/{pid}/task")),
            len(box.service.program.living()),
            len(ours.intersection(os.listdir("/dev/shm"))),
        )

    def switch(name: str) -> None:
        box.reload(box.local(name))
        status = box.settled()
        assert (status["state"], status["model"]) == ("ready", name), box.service.tell()
        assert box.answers(name)
        held()

    # The first ones start threads that stay: of pools, of vLLM.
    for name in ("b", "a"):
        switch(name)
    before = held()
    # A pool may still start one more thread, but never one for each switch.
    limits = (*before[:2], before[2] + 2, *before[3:])
    for number in range(SWITCHES):
        switch("ba"[number % 2])
    # A connection or a finished thread may be counted for a moment.
    wait_until(
        lambda: all(now <= most for now, most in zip(held(), limits, strict=True)),
        30,
        lambda: f"{before} became {held()}",
    )


def test_after_failures_the_model_that_was_asked_for_last_serves(tmp_path: Path) -> None:
    env_file, broken, good = tmp_path / "box.env", tmp_path / "broken", tmp_path / "good"
    shutil.copytree(guide_folder(), good)
    env_file.write_text(f"MODEL_ID={broken}\n")
    with serving(tmp_path, env_file) as service:
        assert "does not exist" in service.wait_for("failed")["message"]
        shutil.copytree(guide_folder(), broken)
        with_tensors_of_another_shape(broken)
        # The same settings: it is tried again.
        os.kill(service.status()["pid"], signal.SIGHUP)
        wait_until(lambda: service.status()["state"] == "loading", 60, service.tell)
        env_file.write_text(f"MODEL_ID={good}\n")
        os.kill(service.status()["pid"], signal.SIGHUP)
        wait_until(lambda: service.status()["state"] == "ready", 300, service.tell)
        status = service.status()
        assert (status["model_id"], status["next"]) == (str(good), None), service.tell()
