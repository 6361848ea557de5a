"""Memory runs out: the chat page is killed before the API, and comes back by itself."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.processes import wait_until
from tests.systemd.boxes import Box
from tests.systemd.chats import ask_api, ask_page, guide_answer
from tests.systemd.conftest import both_ready, main_pid

pytestmark = pytest.mark.timeout(1800)
CONTROLLER = Path("/sys/fs/cgroup/memory")
LIMIT = 6 * 2**30
# The kernel never chooses it itself.
HOG = (
    "echo -1000 > /proc/self/oom_score_adj; exec /opt/ai-sandbox/current/base/bin/python -I -c"
    " 'import time\nkept = []\nwhile True: kept.append(b\"x\" * 50_000_000); time.sleep(0.05)'"
)


@contextlib.contextmanager
def little_memory(machine: Box) -> Iterator[None]:
    """All processes of ``machine``, and what they start, share ``LIMIT`` bytes."""
    assert CONTROLLER.is_dir(), "this test needs the memory controller of cgroup v1"
    group, parent = CONTROLLER / f"box-{uuid.uuid4()}", CONTROLLER
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
        move(processes(machine), group)
        yield
    finally:
        move(map(int, (group / "cgroup.procs").read_text().split()), parent)
        group.rmdir()


def move(pids: Iterator[int] | list[int], group: Path) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            (group / "cgroup.procs").write_text(str(pid))


def processes(machine: Box) -> list[int]:
    """Those of the machine, by their PIDs outside of it."""
    space = os.readlink(f"/proc/{machine.leader}/ns/pid")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(folder / "ns/pid") == space:
                found.append(int(folder.name))
    return found


def test_the_chat_page_goes_before_the_api_and_comes_back(installed: Box) -> None:
    page, api = main_pid(installed, "ui"), main_pid(installed, "api")
    with little_memory(installed):
        installed.run(f"({HOG}) > /dev/null 2>&1 & echo $! > /root/hog.pid")
        try:
            wait_until(lambda: main_pid(installed, "ui") != page, 120)
            assert main_pid(installed, "api") == api
        finally:
            installed.run("kill -9 $(cat /root/hog.pid)", check=False)
        both_ready()
    assert main_pid(installed, "api") == api
    question, answer = guide_answer()
    assert ask_api(question) == answer
    assert ask_page(question) == answer
