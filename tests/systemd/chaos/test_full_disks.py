"""A disk is full: what can work does, the rest says so, and with room again all is well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
import pytest

from tests.process.processes import wait_until
from tests.systemd.boxes import Box
from tests.systemd.chats import ask_api, ask_page, guide_answer, sign_in
from tests.systemd.conftest import API, PAGE, both_ready

pytestmark = pytest.mark.timeout(1800)
BOTH = "ai-sandbox-api ai-sandbox-ui"
SMALL = "/root/small"
ROOM_MB = 64


@contextlib.contextmanager
def small_disk(machine: Box, place: str) -> Iterator[None]:
    """``place`` is a disk of its own, with what was there and little room; afterwards as before."""
    used = int(machine.text(f"du -sm {place} | cut -f1"))
    machine.run(f"systemctl stop {BOTH}", seconds=120)
    machine.run(
        f"mkdir -p {SMALL} && mount -t tmpfs -o size={used + ROOM_MB}M small {SMALL}"
        f" && cp -a {place}/. {SMALL} && mount --bind {SMALL} {place}",
        seconds=120,
    )
    try:
        machine.run(f"systemctl start {BOTH}", seconds=120)
        both_ready()
        yield
    finally:
        machine.run(f"systemctl stop {BOTH}", seconds=120)
        machine.run(f"umount {place} {SMALL}")
        machine.run(f"systemctl reset-failed {BOTH}; systemctl start {BOTH}", seconds=120)
        both_ready()


def fill(machine: Box, place: str) -> None:
    """Leave not a byte of room in ``place``."""
    machine.run(f"cat /dev/zero > {place}/filler", check=False, seconds=120)
    assert machine.text(f"df --output=avail {place} | tail -n 1") == "0"


def write_large_chat(title: str) -> httpx.Response:
    """Ask the page to keep a chat that needs more room than a database has left in its pages."""
    message = {"role": "user", "content": "x" * 4_000_000}
    return httpx.post(
        f"{PAGE}/api/v1/chats/new",
        headers={"Authorization": f"Bearer {sign_in()}"},
        json={"chat": {"title": title, "messages": [message]}},
        timeout=120,
    )


def test_without_room_for_chats_all_else_goes_on(installed: Box) -> None:
    question, answer = guide_answer()
    place = "/opt/open-webui"
    with small_disk(installed, place):
        assert write_large_chat("Before").status_code == 200
        fill(installed, place)
        assert write_large_chat("Meanwhile").status_code >= 400
        assert httpx.get(f"{PAGE}/health", timeout=30).status_code == 200
        assert ask_api(question) == answer
        backup = installed.run("ai-sandbox backup", check=False, seconds=180)
        assert backup.returncode != 0
        assert "disk full" in backup.stdout
        installed.run(f"rm {place}/filler")
        assert write_large_chat("After").status_code == 200
        assert ask_page(question) == answer
        installed.run("ai-sandbox backup", seconds=180)


def test_without_room_for_models_the_one_that_is_there_is_served(installed: Box) -> None:
    question, answer = guide_answer()
    place = "/opt/models"
    with small_disk(installed, place):
        fill(installed, place)
        assert ask_api(question) == answer
        installed.run("systemctl restart ai-sandbox-api", seconds=120)

        def has_settled() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{API}/status").json()["state"] in ("ready", "failed")
            return False

        wait_until(has_settled, 240)
        status = httpx.get(f"{API}/status").json()
        assert status["state"] == "ready", status
        assert ask_api(question) == answer


def test_without_room_for_temporary_files_both_services_answer(installed: Box) -> None:
    question, answer = guide_answer()
    fill(installed, "/tmp")
    try:
        assert ask_api(question) == answer
        assert ask_page(question) == answer
    finally:
        installed.run("rm /tmp/filler")
    both_ready()
    assert ask_page(question) == answer
