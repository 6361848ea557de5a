"""What is left after `ai-sandbox uninstall`: the data, and nothing else."""

from __future__ import annotations

import httpx
import pytest

from tests.systemd.boxes import Box, fork
from tests.systemd.chats import write_chat
from tests.systemd.conftest import API, PAGE, Installed, both_ready, files_of

pytestmark = pytest.mark.timeout(1200)
# Kept: the settings. Packages' own caches and what the distribution writes by itself.
EXPECTED = {
    "./etc/ai-sandbox.env",
    # For the users, as the distribution's tools keep a copy of what they change.
    "./etc/group-", "./etc/gshadow-", "./etc/passwd-", "./etc/shadow-",
    "./etc/subuid-", "./etc/subgid-", "./etc/.pwd.lock", "./etc/ld.so.cache",
}  # fmt: skip
# What packages that stackscript.sh brought make when they are installed.
PACKAGES_MAKE = (
    "./etc/inputrc",
    "./etc/python3",
    "./etc/alternatives/",
    "./var/lib/dpkg/",
    "./var/lib/python",
    "./usr/local/lib/python3",
    # Of netbase, where a minimal image has none.
    "./etc/hosts",
    "./etc/networks",
)
# Kept too; there are some when a midnight passes.
BACKUPS = "./var/backups/ai-sandbox"


def test_uninstall_leaves_the_system_as_it_was_but_for_the_data(installation: Installed) -> None:
    with fork(installation.disk) as machine:
        machine.boot()
        both_ready()
        write_chat("Kept")
        shown = machine.run("ai-sandbox uninstall", seconds=300).stdout
        assert "/opt/models" in shown
        left = files_of(machine) - installation.before - EXPECTED
        # stackscript.sh brought packages before anything of ours ran.
        left = {f for f in left - files_of_packages(machine) if not f.startswith(PACKAGES_MAKE)}
        left = {f for f in left if "/__pycache__" not in f and not f.startswith(BACKUPS)}
        assert not left, "\n".join(sorted(left))
        assert "ai-sandbox" not in machine.text("cat /etc/passwd /etc/group")
        assert machine.text("stat -c %U /opt/models /opt/open-webui").split() == ["root", "root"]
        assert machine.text("ls /opt/open-webui/webui.db")
        assert not machine.has("/etc/systemd/system/**/ai-sandbox*")
        for url in (API, PAGE):
            with pytest.raises(httpx.ConnectError):
                httpx.get(url)


def files_of_packages(machine: Box) -> set[str]:
    """The files of all installed packages, as ``find`` names them."""
    listed = machine.text("cat /var/lib/dpkg/info/*.list").splitlines()
    # /lib is a link to /usr/lib.
    return {f".{file}" for file in listed} | {f"./usr{file}" for file in listed}
