"""What compiles kernels at run time: a C++ compiler, Python's headers, and nvcc made complete.

Triton compiles its launchers with gcc and Python.h; FlashInfer, DeepGEMM and Humming compile with
the nvcc of the environment's wheels. Only the standard library, and no newer syntax than Python
3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.install import apt
from sandbox.install.commands import CommandFailed, Commands

COMPILER = ("g++", "libc6-dev")
CUDA = "lib/python3.*/site-packages/nvidia/cu[0-9]*"
# Where distributions and NVIDIA's own installer put the driver's libraries.
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib")
DRIVER_LIBRARY = "libcuda.so.1"
PROGRAM = """\
#include <Python.h>
#include <cuda_runtime.h>
#include <cuda/std/cstdint>
__global__ void kernel(int *value) { *value = 1; }
extern "C" int devices() { int count = 0; cudaGetDeviceCount(&count); return count; }
"""

Say = Callable[[str], None]


def ensure_toolchain(
    has_gpu: bool,
    python: Path,
    commands: Commands,
    say: Say,
    note: apt.Note = lambda names: None,
) -> list[str]:
    """Install the compiler and the headers of ``python`` on a machine with a GPU.

    Returns the names of the new packages; ``note`` as for ``apt.ensure_packages``. Raises
    ``SandboxError``.
    """
    if not has_gpu:
        return []
    packages = list(COMPILER)
    include, version = _headers(python, commands)
    if not (include / "Python.h").is_file():
        packages.append(f"libpython{version}-dev")
    new = apt.ensure_packages(packages, commands, say, note)
    if not (include / "Python.h").is_file():
        raise SandboxError(
            f"Python's headers are missing: there is no {include}/Python.h.",
            f"Install the development files of the Python {version} at {python.resolve()}.",
        )
    return new


def ensure_cuda_links(environment: Path, root: Path = Path("/")) -> bool:
    """Make the CUDA folder of ``environment``'s wheels one that programs link against.

    The wheels have lib/libcudart.so.13, and what compiles at run time asks for
    lib64/libcudart.so and for the driver's library. True when a link was made.
    """
    changed = False
    for home in environment.glob(CUDA):
        changed = _ensure_link(home / "lib64", "lib") or changed
        for library in (home / "lib").glob("lib*.so.*"):
            plain = library.with_name(library.name.partition(".so.")[0] + ".so")
            changed = _ensure_link(plain, library.name) or changed
        # The driver may come later than the environment: then the link leads nowhere until then.
        found = [root / folder / DRIVER_LIBRARY for folder in LIBRARIES]
        driver = next((path for path in found if path.exists()), found[0])
        changed = _ensure_link(home / "lib/stubs/libcuda.so", str(driver)) or changed
    return changed


def check_compiler(environment: Path, commands: Commands) -> None:
    """Compile and link a small kernel with ``environment``'s nvcc, as vLLM's libraries will.

    Raises ``SandboxError`` with the compiler's reason. Needs no GPU and no driver.
    """
    for home in environment.glob(CUDA):
        include, _ = _headers(environment / "bin/python", commands)
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch, "kernel.cu")
            source.write_text(PROGRAM)
            # --cudart none: FlashInfer links the shared library by name, as this does.
            command = [str(home / "bin/nvcc"), "-shared", "-Xcompiler", "-fPIC", "--cudart", "none"]
            command += ["-isystem", str(include), f"-L{home}/lib64", "-lcudart"]
            command += ["-o", str(source.with_suffix(".so")), str(source)]
            try:
                commands.run(command)
            except CommandFailed as error:
                raise SandboxError(
                    f"The CUDA compiler does not work here: {error.reason}",
                    f"Report this with the log, {commands.log}; vLLM's first start would fail.",
                ) from None


def _headers(python: Path, commands: Commands) -> tuple[Path, str]:
    """Where ``python``'s headers belong, and its version such as "3.11"."""
    code = "import sysconfig as s; print(s.get_path('include')); print(s.get_python_version())"
    include, version = commands.run([str(python), "-c", code]).split("\n")[:2]
    return Path(include), version


def _ensure_link(link: Path, target: str) -> bool:
    if link.is_symlink() and str(link.readlink()) == target:
        return False
    if link.exists() and not link.is_symlink():
        return False
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    return True
