"""What speaks against an installation, all of it at once, with nothing changed."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from sandbox.install import machine, preflight
from sandbox.install.machine import Problem
from sandbox.paths import Box
from tests.standins import gpu_machine

as_root = pytest.mark.root("not root is a problem of its own")
HUGE = 10**18


def text(problems: list[Problem]) -> str:
    return "\n".join(f"{p.message} {p.hint}" for p in problems)


def check(root: Path, **more: object) -> list[Problem]:
    return preflight.check(Box(root), {}, has_gpu=False, release=root / "release", **more)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine on which nothing is wrong."""
    return gpu_machine.make(tmp_path / "root")


@as_root
def test_a_fit_machine_has_no_problem(root: Path) -> None:
    assert check(root) == []


@as_root
def test_all_problems_come_at_once(root: Path) -> None:
    gpu_machine.write(root, "etc/os-release", 'ID=fedora\nVERSION_ID=44\nPRETTY_NAME="Fedora 44"\n')
    gpu_machine.write(root, "proc/meminfo", "MemTotal:  2000000 kB\n")
    gpu_machine.load_driver(root, "535.1")
    gpu_machine.write(root, "etc/ai-sandbox.env", "MODEL=x\n")
    shutil.rmtree(root / "run")
    said = text(check(root))
    for word in ("Fedora 44", "systemd", "1.9 GiB", "535.1", "MODEL ("):
        assert word in said


def test_looking_changes_nothing(root: Path) -> None:
    before = sorted(root.rglob("*"))
    check(root)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("ubuntu", "22.04"),
        ("ubuntu", "24.04"),
        ("debian", "11"),
        ("debian", "12"),
        ("debian", "13"),
    ],
)
def test_the_systems_that_it_is_made_for(root: Path, name: str, version: str) -> None:
    gpu_machine.write(root, "etc/os-release", f'ID={name}\nVERSION_ID="{version}"\n')
    assert machine.distribution(root).is_known


@pytest.mark.parametrize("fields", ["ID=debian\nVERSION_ID=10\n", "ID=ubuntu\n", ""])
def test_another_system_is_named_with_the_list(root: Path, fields: str) -> None:
    gpu_machine.write(root, "etc/os-release", fields)
    assert machine.LIST in text(machine.problems(root))


def test_a_container_without_systemd_is_told_what_works_there(root: Path) -> None:
    shutil.rmtree(root / "run")
    assert "make run" in text(machine.systemd_problems(root))


def test_a_systemd_that_is_too_old_is_refused(root: Path) -> None:
    library = root / "usr/lib/systemd/libsystemd-shared-255.so"
    library.rename(library.with_name("libsystemd-shared-241.so"))
    assert "241" in text(machine.systemd_problems(root))


def test_a_disk_too_small_is_told_in_numbers_by_part(root: Path) -> None:
    (problem,) = preflight.check_disk(
        Box(root), root / "opt/models", {"the API": HUGE}, 145 * 10**8, "mistralai/Mistral"
    )
    assert f"{HUGE / 10**9:.1f} GB for the API" in problem.message
    assert "14.5 GB for the model mistralai/Mistral" in problem.message
    assert "GB free" in problem.message


def test_a_model_that_does_not_fit_is_a_problem(root: Path) -> None:
    assert f"{HUGE / 10**9:.1f} GB for the model" in text(check(root, model_bytes=lambda: HUGE))


def test_a_model_of_unknown_size_is_none(root: Path) -> None:
    assert "for the model" not in text(check(root, model_bytes=lambda: None))


def test_an_image_has_no_model_and_no_ports(root: Path) -> None:
    assert "for the model" not in text(check(root, model_bytes=lambda: HUGE, bake=True))


def test_environments_that_are_there_need_no_disk(root: Path) -> None:
    for name in ("api", "ui"):
        gpu_machine.write(root, f"release/{name}/ai-sandbox-stamp", "x")
    assert preflight.needs(root / "release", has_gpu=True) == {}


def test_a_gpu_needs_the_larger_environment(root: Path) -> None:
    needs = [preflight.needs(root / "release", has_gpu)["the API"] for has_gpu in (False, True)]
    assert needs[0] < needs[1]


class Ports:
    """A listening socket of this test, as the machine at ``root`` shows it in its /proc."""

    def __init__(self, root: Path, listener: socket.socket, name: str, group: str) -> None:
        self.port = listener.getsockname()[1]
        inode = os.fstat(listener.fileno()).st_ino
        table = f"sl local rem st\n0: 00000000:{self.port:04X} 0:0 0A 0 0 0 0 0 {inode}\n"
        gpu_machine.write(root, "proc/net/tcp", table)
        gpu_machine.write(root, "proc/4321/comm", f"{name}\n")
        gpu_machine.write(root, "proc/4321/cgroup", f"0::{group}\n")
        (root / "proc/4321/fd").mkdir(parents=True)
        (root / "proc/4321/fd/3").symlink_to(f"socket:[{inode}]")
        gpu_machine.write(root, "etc/ai-sandbox.env", f"API_PORT={self.port}\n")


@pytest.mark.parametrize(
    ("name", "group", "advice"),
    [
        ("ollama", "/system.slice/ollama.service", "systemctl disable --now ollama.service"),
        ("docker-proxy", "/system.slice/docker.service", "docker ps --filter publish="),
        ("python3", "/user.slice/user-0.slice/session-1.scope", "kill 4321"),
    ],
)
def test_a_port_of_somebody_else_is_named_with_the_way_out(
    root: Path, name: str, group: str, advice: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports = Ports(root, listener, name, group)
        said = text(check(root))
    assert f"Port {ports.port} is in use by PID 4321 ({name})" in said
    assert advice in said
    assert "API_PORT" in said


@pytest.mark.parametrize("unit", ["ai-sandbox-api", "ai-sandbox-ui", "ai-sandbox-progress-8000"])
def test_a_port_of_our_own_is_free_to_take(root: Path, unit: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Ports(root, listener, "python3", f"/system.slice/{unit}.service")
        assert "is in use" not in text(check(root))
