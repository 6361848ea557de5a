"""`make run` as a person types it on a fresh Debian with only git, make and python3."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Iterator

import openai
import pytest

from tests.container.machine import ROOT, Machine, Terminal, machine

# A fresh machine has to install; the packages themselves may come from afar.
INSTALL_S = 900
START_S = 180
# What is promised for Ctrl-C.
STOP_S = 10
PROMPT = r"^ready\$ "


@pytest.fixture(scope="module")
def clean_machine() -> Iterator[Machine]:
    with machine() as fresh:
        fresh.add_checkout()
        fresh.share_package_cache()
        yield fresh


@pytest.fixture(scope="module")
def terminal(clean_machine: Machine) -> Iterator[Terminal]:
    with clean_machine.terminal() as terminal:
        terminal.run("cd ~/ai-sandbox; PS1='ready$ '")
        yield terminal


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def first_of_the_faq() -> tuple[str, str]:
    text = (ROOT / "docs/faq.md").read_text()
    match = re.search(r"^### (.+)\n(.+)$", text, re.MULTILINE)
    assert match
    return match[1], match[2]


def processes_in(terminal: Terminal) -> list[str]:
    """The programs in the machine, but for its first one and the shell."""
    shown = terminal.run("for p in /proc/[0-9]*; do echo PROGRAM ${p#/proc/} $(cat $p/comm); done")
    found = [line.split()[1:3] for line in shown.splitlines() if line.startswith("PROGRAM")]
    # A process of the loop itself is gone by the time its name is read.
    return [" ".join(words) for words in found if len(words) == 2 and int(words[0]) > 2
            and words[1] not in ("bash", "cat")]  # fmt: skip


@pytest.mark.timeout(INSTALL_S + 3 * START_S)
def test_make_run_serves_until_ctrl_c_and_installs_once(terminal: Terminal) -> None:
    for run in (1, 2):
        api, page = free_port(), free_port()
        terminal.type(f"make run API_PORT={api} UI_PORT={page}")
        seconds = INSTALL_S if run == 1 else START_S
        terminal.wait_for(rf"^API ready after .*:{api}/v1|cannot serve", seconds)
        assert "cannot serve" not in terminal.shown, terminal.shown
        terminal.wait_for(rf"^Chat page ready after .*:{page}", START_S)

        client = openai.OpenAI(base_url=f"http://127.0.0.1:{api}/v1", api_key="none")
        model = client.models.list().data[0].id
        question, answer = first_of_the_faq()
        chat = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], temperature=0
        )
        assert chat.choices[0].message.content == answer
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/") as response:
            assert response.status == 200

        terminal.press_ctrl_c()
        terminal.wait_for(PROMPT, STOP_S, times=run + 1)
        assert processes_in(terminal) == []
        assert terminal.shown.count("Installed in") == 1


def test_a_mistyped_setting_is_refused_before_anything_starts(terminal: Terminal) -> None:
    shown = terminal.run("make run API_PROT=18000", INSTALL_S)
    assert "API_PROT (on the command line of make) is not a setting." in shown
    assert "Did you mean API_PORT?" in shown
    assert "Starting" not in shown
