"""The machine is cut off while chats are written: what was acknowledged is there after the boot."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.process.processes import wait_until
from tests.systemd.boxes import Box
from tests.systemd.chats import ask_page, chat_titles, guide_answer, sign_in, write_chat
from tests.systemd.conftest import both_ready

pytestmark = pytest.mark.timeout(7200)
# `make disasters` cuts more often.
CUTS = int(os.environ.get("CUTS") or 1)
WRITERS = 4
# In the chat page's own environment, as its user: every page of the file is looked at.
CHECK = (
    "setpriv --reuid=ai-sandbox-ui --regid=ai-sandbox --clear-groups"
    " /opt/ai-sandbox/current/base/bin/python -I -c"
    ' \'import sqlite3; print(sqlite3.connect("/opt/open-webui/webui.db")'
    '.execute("pragma integrity_check").fetchone()[0])\''
)


class Writers:
    """People who write chats without a pause; ``kept`` are the titles that were acknowledged."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self._over = threading.Event()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """They write from now on until the end of the block, whatever becomes of the machine."""
        threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
            self._over.clear()

    def wait_for(self, more: int) -> None:
        """Return when so many more chats were acknowledged."""
        enough = len(self.kept) + more
        wait_until(lambda: len(self.kept) >= enough, 120)

    def _write(self, number: int) -> None:
        with contextlib.suppress(httpx.TransportError):
            token = sign_in()
            while not self._over.is_set():
                title = f"{number}: {time.monotonic_ns()}"
                write_chat(title, token)
                self.kept.append(title)


@pytest.mark.long
def test_no_chat_that_was_acknowledged_is_lost(installed: Box) -> None:
    question, answer = guide_answer()
    writers = Writers()
    for cut in range(CUTS):
        with writers.writing():
            writers.wait_for(20)
            installed.power_cut()
        installed.boot()
        both_ready()
        assert installed.text(CHECK) == "ok"
        assert set(writers.kept) - set(chat_titles()) == set()
        assert ask_page(question) == answer
        print(f"cut {cut + 1}: {len(writers.kept)} chats, all there", flush=True)
