"""An installer that is killed at each of its steps and run again always ends well."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from sandbox.install.timeline import STEPS
from sandbox.paths import Box
from tests.process.processes import wait_until
from tests.systemd import boxes
from tests.systemd.boxes import SOURCE, box, registry_settings
from tests.systemd.chats import ask_api, ask_page, guide_answer
from tests.systemd.conftest import both_ready

SCOPE = "stackscript-under-test"
STEP_S = 300
PROGRESS = Box().progress


class Kills:
    """Starts stackscript.sh again and again, and kills all of it when a step runs."""

    def __init__(self, machine: boxes.Box) -> None:
        self._machine = machine
        self.process: subprocess.Popen[bytes] | None = None
        self.log = machine.root.parent / "stackscript.out"

    def start(self) -> None:
        """Start it in a scope of its own."""
        environment = registry_settings() | {
            "AI_SANDBOX_SOURCE": SOURCE,
            "MODEL_ID": "builtin:guide",
        }
        run = f"systemd-run --quiet --collect --scope --unit={SCOPE} {SOURCE}/stackscript.sh"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self._machine.inside(run, environment), stdout=out, stderr=out
            )

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut would."""
        assert self.process
        self._machine.run(f"systemctl kill -s KILL {SCOPE}.scope", check=False)
        self.process.wait(30)
        wait_until(lambda: self._machine.state(f"{SCOPE}.scope") != "active", 30)

    def is_past(self, name: str) -> bool:
        """True when the step ``name`` has begun, or the installer has ended."""
        assert self.process
        return self.process.poll() is not None or self._state(name) != "waiting"

    def _state(self, name: str) -> str:
        done = self._machine.run(f"cat {PROGRESS}", check=False)
        steps = [] if done.returncode else json.loads(done.stdout)["steps"]
        return next((str(step["state"]) for step in steps if step["name"] == name), "waiting")


@pytest.mark.timeout(1800)
@pytest.mark.long
def test_killed_at_each_step_a_second_run_completes() -> None:
    with box() as machine:
        machine.add_source()
        machine.share_package_cache()
        machine.boot()
        kills = Kills(machine)
        # stackscript.sh's own first steps: packages, and the copy.
        kills.start()
        out = kills.log.read_text
        wait_until(lambda: "Installing python3" in out(), STEP_S, out)
        time.sleep(1)
        kills.kill()
        for title in STEPS:
            machine.run("rm -rf /run/ai-sandbox-install")
            kills.start()
            wait_until(lambda: kills.is_past(title.text), STEP_S, out)  # noqa: B023
            kills.kill()
        done = machine.stackscript(600, check=False, MODEL_ID="builtin:guide")
        assert done.returncode == 0, done.stdout[-4000:]
        both_ready()
        question, answer = guide_answer()
        assert ask_api(question) == answer
        assert ask_page(question) == answer
        left = machine.text("ls -a /opt/ai-sandbox/releases /opt/ai-sandbox")
        assert ".new-" not in left
