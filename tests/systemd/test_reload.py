"""`systemctl reload` and `ai-sandbox use` on a box: another model, the same process."""

from __future__ import annotations

import shutil

import httpx
import pytest

from sandbox.models.guide import guide_folder
from tests.process.processes import wait_until
from tests.systemd.boxes import Box
from tests.systemd.chats import GUIDE, ask_api, guide_answer
from tests.systemd.conftest import API, ENV_FILE, main_pid, settings

OTHER = "/opt/models/reloaded"


def serves(model: str) -> bool:
    status = httpx.get(f"{API}/status").json()
    return bool(status["state"] == "ready" and status["model"] == model and not status["next"])


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            f"sed -i '/^MODEL_ID=/d' {ENV_FILE} && echo MODEL_ID={OTHER} >> {ENV_FILE} "
            "&& systemctl reload ai-sandbox-api",
            marks=pytest.mark.long,
        ),
        f"ai-sandbox use {OTHER}",
    ],
)
def test_another_model_serves_in_the_same_process(installed: Box, command: str) -> None:
    shutil.copytree(guide_folder(), installed.root / OTHER.lstrip("/"), dirs_exist_ok=True)
    pid = main_pid(installed, "api")
    with settings(installed):
        installed.run(command, seconds=300)
        wait_until(lambda: serves(OTHER), 240)
        assert main_pid(installed, "api") == pid
        question, answer = guide_answer()
        assert ask_api(question, model=OTHER) == answer


def test_a_mistake_in_the_env_file_is_said_and_the_model_serves_on(installed: Box) -> None:
    pid = main_pid(installed, "api")
    with settings(installed, "this is no assignment"):
        installed.run("systemctl reload ai-sandbox-api", seconds=60)
        wait_until(lambda: "not an assignment" in httpx.get(f"{API}/status").json()["notice"], 30)
        assert serves(GUIDE)
        assert main_pid(installed, "api") == pid
        assert "not an assignment" in installed.text("systemctl status --no-pager ai-sandbox-api")
