"""What stackscript.sh says, in the machine, when it cannot or should not install."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.process.hub_service import hub, make_repository
from tests.process.package_index import package_index
from tests.systemd.boxes import ROOT, SOURCE, SUITE, Box, box, ensure_base, fork, registry_settings

pytestmark = pytest.mark.timeout(900)
RUN = f"{SOURCE}/stackscript.sh"


@pytest.fixture
def bare(machine: Box) -> Box:
    """The machine without the page that a failed installation leaves."""
    machine.boot()
    machine.run("systemctl stop 'ai-sandbox-progress-*'")
    return machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Box]:
    """A booted machine with what stackscript.sh installs first, and nothing of ours."""
    with box() as machine:
        machine.add_source()
        machine.boot()
        install = "apt-get -qq install --yes --no-install-recommends python3 curl > /dev/null 2>&1"
        machine.run(f"apt-get -qq update && DEBIAN_FRONTEND=noninteractive {install}", seconds=300)
        yield machine


def refused(machine: Box, command: str = RUN, **fields: str) -> str:
    """What the script prints when it ends with a failure and installed nothing."""
    done = machine.run(
        command,
        seconds=300,
        check=False,
        environment=registry_settings() | {"AI_SANDBOX_SOURCE": SOURCE} | fields,
    )
    assert done.returncode not in (0, 126, 127), done.stdout
    assert "Traceback" not in done.stdout
    assert not machine.has("/etc/systemd/system/ai-sandbox*")
    return done.stdout


@contextlib.contextmanager
def released(machine: Box, url: str, folder: Path, name: str = "stackscript.sh") -> Iterator[str]:
    """stackscript.sh of a release whose archive is at ``url``, in the machine."""
    subprocess.run(
        [sys.executable, str(ROOT / "sandbox/install/pack.py"), "release", str(folder), url],
        check=True,
        capture_output=True,
    )
    shutil.copy(folder / name, machine.root / "root/released.sh")
    yield "bash /root/released.sh"


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A web server for ``folder``; its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def somebody_elses(machine: Box) -> Iterator[None]:
    """A web server that somebody has as a service on the chat page's port."""
    unit = "--unit=somebody-elses --collect"
    machine.run(f"systemd-run {unit} python3 -m http.server 3000")
    try:
        # Not by name: a minimal Debian 11 has no /etc/hosts.
        machine.run("until curl -sf -o /dev/null 127.0.0.1:3000; do sleep 0.2; done")
        yield
        assert machine.text("systemctl is-active somebody-elses") == "active"
    finally:
        machine.run("systemctl stop somebody-elses", check=False)


@contextlib.contextmanager
def small_disk(machine: Box, folder: str, megabytes: int) -> Iterator[None]:
    """A disk of that size at ``folder``."""
    mount = f"mount -t tmpfs -o size={megabytes}m none {folder}"
    machine.run(f"mkdir -p {folder} && {mount}")
    try:
        yield
    finally:
        machine.run(f"umount -l {folder}")


def test_another_user_than_root(bare: Box) -> None:
    bare.run(f"chmod 711 /root; cp {RUN} /tmp/stackscript.sh")
    shown = refused(bare, "setpriv --reuid=nobody --clear-groups bash /tmp/stackscript.sh")
    assert "It must run as root" in shown


def test_an_unknown_system_is_named_with_the_known_ones(bare: Box) -> None:
    bare.run("cp --remove-destination /usr/lib/os-release /etc/os-release")
    try:
        bare.run("sed -i 's/^VERSION_ID=.*/VERSION_ID=\"9\"/' /etc/os-release")
        shown = refused(bare)
        assert "the installer is made for Ubuntu 22.04 and 24.04, Debian 11, 12 and 13" in shown
    finally:
        bare.run("ln -sf ../usr/lib/os-release /etc/os-release")


def test_no_systemd(bare: Box) -> None:
    hidden = "umount -l /run/systemd/system 2>/dev/null; mount -t tmpfs none /run/systemd"
    shown = refused(bare, f"unshare -m bash -c '{hidden} && {RUN}'")
    assert "systemd does not run this machine" in shown


def test_too_little_disk_for_the_environments_with_numbers(bare: Box) -> None:
    with small_disk(bare, "/opt/ai-sandbox", 400):
        shown = refused(bare)
    free, needed = r"has 0\.\d GB free", r"\d\.\d GB are needed"
    assert re.search(rf"{free}; {needed}: \d\.\d GB for the API, \d\.\d GB for the chat", shown)
    assert "Nothing was installed" in shown


def test_too_little_disk_for_this_model_with_numbers(bare: Box, tmp_path: Path) -> None:
    make_repository(tmp_path / "hub/owner/name", shard_bytes=40_000_000)
    with hub(tmp_path) as service, small_disk(bare, "/opt/models", 64):
        shown = refused(bare, MODEL_ID="owner/name", HF_ENDPOINT=service.url)
    free, needed = r"/opt/models has 0\.1 GB free", r"1\.\d GB are needed"
    assert re.search(rf"{free}; {needed}: 0\.\d GB for the model owner/name", shown), shown


def test_a_field_with_an_unknown_value(bare: Box) -> None:
    shown = refused(bare, ACCESS="opne")
    assert "ACCESS is 'opne'" in shown
    assert "open or protected" in shown
    assert not bare.has("/etc/ai-sandbox.env")


def test_a_port_that_another_program_has_is_named_with_that_program(bare: Box) -> None:
    with somebody_elses(bare):
        shown = refused(bare)
    assert re.search(r"Port 3000 is in use by PID \d+ \(python3", shown), shown
    assert "systemctl disable --now somebody-elses.service" in shown


def test_all_that_is_wrong_comes_in_one_list(bare: Box) -> None:
    with somebody_elses(bare):
        shown = refused(bare, ACCESS="opne", MAX_MODEL_LEN="long")
    for problem in ("- ACCESS is 'opne'", "- MAX_MODEL_LEN is 'long'", "- Port 3000 is in use"):
        assert problem in shown, shown
    motd = bare.text("cat /etc/motd")
    assert "ACCESS is 'opne'" in motd
    assert "Port 3000 is in use" in motd


def test_an_archive_with_another_hash(bare: Box, tmp_path: Path) -> None:
    with serving(tmp_path) as address, released(bare, f"{address}/r.tar.gz", tmp_path) as command:
        (tmp_path / "r.tar.gz").write_bytes(b"something else")
        shown = refused(bare, command, AI_SANDBOX_SOURCE="")
    assert "was not unpacked" in shown
    assert len(set(re.findall(r"[0-9a-f]{64}", shown))) == 2


def test_no_network_for_the_release(bare: Box, tmp_path: Path) -> None:
    url = "https://releases.example.com/r.tar.gz"
    with released(bare, url, tmp_path) as command:
        shown = refused(bare, f"unshare --net {command}", AI_SANDBOX_SOURCE="")
    assert f"The release could not be fetched from {url}" in shown
    assert "check this machine's network" in shown


def test_no_network_on_a_minimal_system() -> None:
    with fork(ensure_base(SUITE)) as machine:
        machine.add_source()
        machine.boot()
        shown = refused(machine, f"unshare --net {RUN}")
    assert "apt-get could not" in shown
    assert "check the network" in shown


def test_a_package_that_breaks_off_is_tried_again_and_explained(bare: Box, tmp_path: Path) -> None:
    bare.run("rm -rf /opt/ai-sandbox")
    with package_index(tmp_path, "idna", times=99) as environment:
        shown = refused(bare, **environment)
    why = "because a server or the network failed"
    assert "trying again in 2 s" in shown
    assert why in shown
    assert "Check the network" in shown
    motd = bare.text("cat /etc/motd")
    assert "NOT installed" in motd
    assert why in motd
    for port in (8000, 3000):
        page = httpx.get(f"http://127.0.0.1:{port}", headers={"Accept": "text/html"}).text
        for text in ("failed", "Installer", why, "/var/log/ai-sandbox"):
            assert text in page, port
