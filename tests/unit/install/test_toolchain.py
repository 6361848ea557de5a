"""What compiles at run time: which packages come, and what is linked to what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import toolchain
from sandbox.install.commands import Commands
from tests.standins import package_manager
from tests.standins.programs import Programs

CUDA = "lib/python3.11/site-packages/nvidia/cu13"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Commands on a machine with the stand-in's packages."""
    packages = tmp_path / "distribution"
    packages.mkdir()
    (packages / "archive").write_text("g++: \nlibc6-dev: \nlibpython3.11-dev: \n")
    (packages / "installed").write_text("")
    programs = Programs(tmp_path / "bin", monkeypatch)
    for name in ("apt-get", "dpkg-query"):
        program = f"{sys.executable} {package_manager.__file__} {packages} {name}"
        programs.add(name, f'exec {program} "$@"')
    return Commands(tmp_path / "log", pauses_s=())


def python(folder: Path, has_headers: bool) -> Path:
    """A Python 3.11 that says where its headers belong."""
    include = folder / "include"
    include.mkdir(exist_ok=True)
    if has_headers:
        (include / "Python.h").touch()
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho {include}\necho 3.11\n")
    program.chmod(0o755)
    return program


def environment(folder: Path, nvcc: str = "exit 0") -> Path:
    """An environment as the wheels of CUDA leave it, with the stand-in ``nvcc``."""
    home = folder / CUDA
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    for name in ("libcudart.so.13", "libcublas.so.13"):
        (home / "lib" / name).touch()
    (home / "bin/nvcc").write_text(f"#!/bin/sh\n{nvcc}\n")
    (home / "bin/nvcc").chmod(0o755)
    (folder / "bin").mkdir()
    python(folder / "bin", has_headers=True)
    return folder


def ensure(has_gpu: bool, program: Path, commands: Commands) -> list[str]:
    return toolchain.ensure_toolchain(has_gpu, program, commands, lambda text: None)


def test_without_a_gpu_nothing_compiles(tmp_path: Path, commands: Commands) -> None:
    assert ensure(False, python(tmp_path, has_headers=False), commands) == []


def test_a_python_with_headers_needs_only_a_compiler(tmp_path: Path, commands: Commands) -> None:
    assert ensure(True, python(tmp_path, has_headers=True), commands) == ["g++", "libc6-dev"]


def test_headers_that_no_package_brings_are_missed(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(SandboxError, match=r"Python\.h"):
        ensure(True, python(tmp_path, has_headers=False), commands)
    assert "libpython3.11-dev" in (tmp_path / "distribution/installed").read_text()


def test_cuda_gets_the_names_that_linkers_ask_for(tmp_path: Path) -> None:
    made = environment(tmp_path / "api")
    assert toolchain.ensure_cuda_links(made)
    for name in ("libcudart.so", "libcublas.so"):
        assert (made / CUDA / "lib64" / name).resolve().name == f"{name}.13"


def test_a_second_run_links_nothing(tmp_path: Path) -> None:
    made = environment(tmp_path / "api")
    toolchain.ensure_cuda_links(made)
    assert not toolchain.ensure_cuda_links(made)


def test_the_drivers_library_is_linked_from_where_the_system_has_it(tmp_path: Path) -> None:
    made = environment(tmp_path / "api")
    library = tmp_path / "root/usr/lib64/libcuda.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    toolchain.ensure_cuda_links(made, tmp_path / "root")
    assert (made / CUDA / "lib64/stubs/libcuda.so").resolve() == library


def test_a_driver_that_comes_later_is_found_then(tmp_path: Path) -> None:
    made = environment(tmp_path / "api")
    toolchain.ensure_cuda_links(made, tmp_path / "root")
    library = tmp_path / "root/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    assert (made / CUDA / "lib/stubs/libcuda.so").resolve() == library


def test_an_environment_without_cuda_is_left_alone(tmp_path: Path, commands: Commands) -> None:
    assert not toolchain.ensure_cuda_links(tmp_path)
    toolchain.check_compiler(tmp_path, commands)


def test_a_compiler_that_works_is_silent(tmp_path: Path, commands: Commands) -> None:
    toolchain.check_compiler(environment(tmp_path / "api"), commands)
    assert "kernel.cu" in commands.log.read_text()


def test_a_compiler_that_fails_is_told_with_its_reason(tmp_path: Path, commands: Commands) -> None:
    made = environment(tmp_path / "api", "echo 'compiler and headers are incompatible'; exit 1")
    with pytest.raises(SandboxError, match="headers are incompatible"):
        toolchain.check_compiler(made, commands)


def test_folders_of_other_cuda_libraries_are_no_cuda_folder(
    tmp_path: Path, commands: Commands
) -> None:
    other = tmp_path / "lib/python3.11/site-packages/nvidia/cudnn/lib"
    other.mkdir(parents=True)
    (other / "libcudnn.so.9").touch()
    assert not toolchain.ensure_cuda_links(tmp_path)
    toolchain.check_compiler(tmp_path, commands)
    assert not (other.parent / "lib64").exists()
