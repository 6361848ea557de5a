"""stackscript.sh on a minimal Debian with real systemd: what people see, then have."""

from __future__ import annotations

import openai
import pytest

from tests.systemd.boxes import Box
from tests.systemd.chats import ask_api, ask_page, guide_answer
from tests.systemd.conftest import Installed, settings

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize(
    ("port", "last"), [(8000, "status 200"), (3000, "status 200")], ids=["api", "chat page"]
)
def test_a_port_shows_the_progress_and_then_its_service(
    installation: Installed, port: int, last: str
) -> None:
    story = installation.visitor.story(port)
    assert "installation" in story, story
    assert story[-1] == last, story
    # A moment of refusal at the hand-over is all there is between the two.
    assert story[0] == "refused"
    assert story.count("refused") <= 2, story


def test_the_progress_page_tells_steps_and_percent_and_no_log(installation: Installed) -> None:
    seen = installation.visitor.progress
    # It is there before anything that takes long.
    assert [s["name"] for s in seen[0]["steps"] if s["state"] != "waiting"] == ["Installer"]
    assert max(state["percent"] for state in seen) > 50
    names = {step["name"] for step in seen[-1]["steps"]}
    assert {"Environment of the API", "Environment of the chat page", "Model"} <= names
    assert "installing" not in str(seen[-1]["steps"])


def test_the_log_says_that_the_model_answered_through_both_ports(installation: Installed) -> None:
    assert "through the API: " in installation.output
    assert "through the chat page: " in installation.output


def test_after_a_boot_the_model_answers_through_the_api(installed: Box) -> None:
    question, answer = guide_answer()
    assert ask_api(question) == answer


def test_after_a_boot_the_model_answers_through_the_chat_page(installed: Box) -> None:
    question, answer = guide_answer()
    assert ask_page(question) == answer


def test_what_was_typed_into_the_form_is_in_the_env_file(installed: Box) -> None:
    assert "MODEL_ID=builtin:guide" in installed.text("grep -v '^#' /etc/ai-sandbox.env")
    assert installed.text("stat -c '%a %U:%G' /etc/ai-sandbox.env") == "640 root:ai-sandbox"


def test_a_log_in_shows_addresses_and_the_warning(installed: Box) -> None:
    motd = installed.text("cat /etc/motd")
    assert ":3000" in motd
    assert ":8000/v1" in motd
    assert "Cloud Firewall" in motd


def test_another_run_changes_nothing_and_restarts_nothing(installed: Box) -> None:
    pids = "systemctl show -p MainPID ai-sandbox-api ai-sandbox-ui"
    stat = "stat -c '%n %Y %i' /etc/ai-sandbox.env /etc/motd /etc/systemd/system/ai-sandbox*"
    before = installed.text(pids), installed.text(stat)
    done = installed.run("ai-sandbox install", seconds=300).stdout
    assert (installed.text(pids), installed.text(stat)) == before
    for step in ("Settings", "System packages", "Environment of the API", "Services"):
        assert f"{step:<29} nothing to do" in done or f"{step} and users" in done, done


def test_the_services_run_as_users_of_their_own(installed: Box) -> None:
    for name in ("api", "ui"):
        pid = installed.text(f"systemctl show -p MainPID --value ai-sandbox-{name}")
        assert installed.text(f"stat -c %U /proc/{pid}") == f"ai-sandbox-{name}"


@pytest.mark.parametrize(
    ("unit", "limit"),
    [("ai-sandbox-api", "1.6"), ("ai-sandbox-ui", "1.2"), ("ai-sandbox-backup", "1.8")],
)
def test_a_unit_is_hardened(installed: Box, unit: str, limit: str) -> None:
    shown = installed.text(f"systemd-analyze security --no-pager {unit}.service | tail -1")
    assert float(shown.split(":")[1].split()[0]) <= float(limit), shown


def test_our_units_have_no_mistakes(installed: Box) -> None:
    names = "api.service ui.service devices.service backup.service backup.timer"
    units = " ".join(f"ai-sandbox-{name}" for name in names.split())
    shown = installed.text(f"systemd-analyze verify {units} ai-sandbox.target 2>&1")
    assert "ai-sandbox" not in shown, shown


def test_the_chat_service_cannot_read_the_models_or_change_its_program(installed: Box) -> None:
    pid = installed.text("systemctl show -p MainPID --value ai-sandbox-ui")
    user = "setpriv --reuid=ai-sandbox-ui --regid=ai-sandbox --clear-groups"
    inside = f"nsenter -t {pid} -m -- {user}"
    assert installed.run(f"{inside} ls /opt/models", check=False).returncode != 0
    touch = f"nsenter -t {pid} -m -- touch /opt/ai-sandbox/x"
    assert installed.run(touch, check=False).returncode != 0


def test_no_program_is_left_of_the_installation(installed: Box) -> None:
    assert "progress" not in installed.text("systemctl list-units --all --no-legend 'ai-sandbox*'")


def test_a_protected_box_wants_a_key_and_a_login(installed: Box) -> None:
    key = "sk-a-test-key"
    with settings(installed, "ACCESS=protected", f"API_KEY={key}"):
        # Restarts both for the new settings.
        installed.run("ai-sandbox install", seconds=300)
        with pytest.raises(openai.AuthenticationError):
            ask_api("Hello")
        question, answer = guide_answer()
        assert ask_api(question, key) == answer
        password = installed.text("cat /opt/open-webui/admin-password")
        assert ask_page(question, "admin@ai-sandbox.local", password) == answer
