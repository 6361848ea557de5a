"""From one release to the next and back, with chats in the database."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.systemd.boxes import Box, add_source, fork, registry_settings
from tests.systemd.chats import ask_page, chat_titles, guide_answer, write_chat
from tests.systemd.conftest import Installed, both_ready

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def disk(installation: Installed) -> Iterator[Box]:
    """An installed machine of which the tests may change the release."""
    with fork(installation.disk, installs=True) as machine:
        yield machine


@pytest.fixture
def machine(disk: Box) -> Box:
    """That machine, healthy."""
    disk.boot()
    both_ready()
    return disk


def serving(machine: Box) -> str:
    return machine.text("basename $(readlink /opt/ai-sandbox/current)")


def upgrade(machine: Box, folder: str, check: bool = True) -> str:
    done = machine.run(
        f"ai-sandbox upgrade {folder}",
        seconds=900,
        environment=registry_settings(),
        check=check,
    )
    assert check or done.returncode != 0
    return done.stdout


def break_release(machine: Box, folder: str) -> None:
    """A release that installs and passes its checks, and whose service then dies."""
    launcher = machine.root / folder.lstrip("/") / "sandbox/api/launcher.py"
    with launcher.open("a") as code:
        code.write('\n\ndef run(read):\n    raise RuntimeError("broken release")\n')


def change_ui_lock(machine: Box, folder: str) -> None:
    """As with another Open WebUI, whose database the former one may not be able to read."""
    with (machine.root / folder.lstrip("/") / "requirements/ui.txt").open("a") as lock:
        lock.write("# other\n")


def make_archive(machine: Box, folder: str) -> str:
    """The release in ``folder`` as the archive that is given to people."""
    archive = f"{folder}.tar.gz"
    machine.run(f"python3 -I {folder}/sandbox/install/pack.py archive {archive}")
    return archive


def test_an_upgrade_keeps_the_chats_and_a_rollback_brings_those_of_then(machine: Box) -> None:
    first = serving(machine)
    write_chat("Before the upgrade")
    add_source(machine.root / "root/next", version="0.9.0")
    change_ui_lock(machine, "/root/next")
    shown = upgrade(machine, make_archive(machine, "/root/next"))
    assert serving(machine).startswith("0.9.0-"), shown
    both_ready()
    assert "Before the upgrade" in chat_titles()
    write_chat("After the upgrade")

    begun = time.monotonic()
    shown = machine.run("ai-sandbox rollback", seconds=300).stdout
    # docs/reference/install-times.md tells it.
    print(f"rollback: {time.monotonic() - begun:.1f} s")
    assert serving(machine) == first
    assert "what came since is in /opt/open-webui/webui.db." in shown
    both_ready()
    assert "Before the upgrade" in chat_titles()
    assert "After the upgrade" not in chat_titles()
    question, answer = guide_answer()
    assert ask_page(question) == answer


@pytest.mark.long
def test_a_link_in_the_chat_pages_folder_leads_root_nowhere(machine: Box) -> None:
    victim = machine.root / "root/secret"
    victim.write_text("root's own")
    machine.run("chmod 600 /root/secret")
    write_chat("Before the links")
    owned = "setpriv --reuid=ai-sandbox-ui --regid=ai-sandbox --clear-groups"
    for name in ("webui.db.restored", "webui.db.copy"):
        machine.run(f"{owned} ln -sf /root/secret /opt/open-webui/{name}")
    # Its Open WebUI differs, so that the chats are saved and, when it fails, restored.
    add_source(machine.root / "root/linked", version="0.9.5")
    change_ui_lock(machine, "/root/linked")
    break_release(machine, "/root/linked")
    shown = upgrade(machine, "/root/linked", check=False)
    assert "The chats are those of before" in shown
    assert victim.read_text() == "root's own"
    assert machine.text("stat -c '%U %a' /root/secret") == "root 600"
    both_ready()
    assert "Before the links" in chat_titles()


def test_a_broken_release_goes_back_by_itself(machine: Box) -> None:
    first = serving(machine)
    write_chat("Before the broken release")
    add_source(machine.root / "root/broken", version="0.9.1")
    break_release(machine, "/root/broken")
    shown = upgrade(machine, "/root/broken", check=False)
    assert "did not get well" in shown
    assert f"{first} serves again" in shown
    assert serving(machine) == first
    both_ready()
    assert "Before the broken release" in chat_titles()


def test_a_release_that_cannot_be_built_touches_nothing(machine: Box) -> None:
    first = serving(machine)
    add_source(machine.root / "root/unbuildable", version="0.9.2")
    lock = machine.root / "root/unbuildable/requirements/base.txt"
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0000", 1))
    shown = upgrade(machine, "/root/unbuildable", check=False)
    assert "could not be built" in shown
    assert serving(machine) == first
    assert "0.9.2" not in machine.text("ls /opt/ai-sandbox/releases")


def test_an_archive_with_another_hash_is_not_unpacked(machine: Box) -> None:
    archive = "/root/release.tar.gz"
    machine.run(f"tar -C /root -czf {archive} ai-sandbox/LICENSE")
    done = machine.run(f"ai-sandbox upgrade {archive} --sha256 {'0' * 64}", check=False)
    assert done.returncode == 1
    assert "is not the release that was expected" in done.stdout
