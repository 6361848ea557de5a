"""Brings the pinned uv and a Python 3.11 to a machine that may have neither, nor pip.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.install import apt, debian
from sandbox.install.commands import CommandFailed, Commands, explain

PYTHON = "3.11"
# pip by its names in Debian and Ubuntu, and what pip needs of Python where that is split off.
PIP_PACKAGES = ("python3-pip-whl", "python-pip-whl", "python3-distutils")
SYSTEM_WHEELS = Path("/usr/share/python-wheels")
NO_PIP = SandboxError(
    "This Python has no pip, and none could be fetched from the distribution's packages.",
    "Check the network, or install it: sudo apt-get install python3-pip. Then run this again.",
)


def pinned_uv_version(requirements: Path) -> str:
    """The version in ``requirements`` (uv.txt), such as "0.13.9"."""
    match = re.search(r"^uv==(\S+)", requirements.read_text(), re.MULTILINE)
    assert match, f"{requirements} does not pin uv"
    return match.group(1)


def ensure_uv(tools: Path, requirements: Path, commands: Commands) -> Path:
    """The pinned uv: the one in ``tools``, one on PATH, or one that pip brings (in this order).

    ``tools``/uv is a link to it afterwards. Raises ``SandboxError``.
    """
    version = pinned_uv_version(requirements)
    link = tools / "uv"
    if _is_uv(link, version, commands):
        return link
    on_path = shutil.which("uv")
    if on_path and _is_uv(Path(on_path), version, commands):
        _link(link, Path(on_path))
        return link
    folder = tools / f"uv-{version}"
    if not _is_uv(folder / "bin/uv", version, commands):
        _install_uv(folder, requirements, commands)
    _link(link, folder / "bin/uv")
    return link


def find_python(uv: Path, tools: Path, commands: Commands) -> Path:
    """A Python 3.11: one of this machine when it has one, else the one that uv brings."""
    find = [str(uv), "python", "find", "--no-project", "--system", "--resolve-links"]
    find += ["--no-python-downloads", "--python-preference", "system", PYTHON]
    pythons = tools / "python"
    env = {**os.environ, "UV_PYTHON_INSTALL_DIR": str(pythons)}
    try:
        return Path(commands.run(find, env=env).splitlines()[-1])
    except CommandFailed:
        pass
    try:
        commands.run_with_retries(
            [str(uv), "python", "install", "--no-bin", "--install-dir", str(pythons), PYTHON]
        )
        return Path(commands.run(find, env=env).splitlines()[-1])
    except CommandFailed as error:
        raise explain(error, f"Python {PYTHON} could not be fetched", commands.log) from None


def _is_uv(uv: Path, version: str, commands: Commands) -> bool:
    if not uv.exists():
        return False
    try:
        return commands.run([str(uv), "--version"]).split()[1:2] == [version]
    except CommandFailed:
        return False


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name("uv.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target.absolute())
    new.replace(link)


def _install_uv(folder: Path, requirements: Path, commands: Commands) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as scratch:
        pip, env = _find_pip(Path(scratch), commands)
        new = Path(scratch) / "uv"
        try:
            commands.run_with_retries(
                [
                    *pip,
                    *("install", "--quiet", "--disable-pip-version-check", "--no-deps"),
                    # Nothing stays in root's home.
                    "--no-cache-dir",
                    *("--only-binary", ":all:", "--require-hashes"),
                    *("--target", str(new), "--requirement", str(requirements)),
                ],
                # PIP_USER from somebody's configuration does not go together with --target.
                env={**env, "PIP_USER": "0"},
            )
        except CommandFailed as error:
            raise explain(error, "The installer uv could not be fetched", commands.log) from None
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def _find_pip(scratch: Path, commands: Commands) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a pip that works with this Python."""
    pip = [sys.executable, "-m", "pip"]
    env = dict(os.environ)
    if _works(pip, env, commands):
        return pip, env
    parts = _bundled_pip() or _fetch_pip(scratch, commands)
    if parts:
        from_parts = {**env, "PYTHONPATH": os.pathsep.join(map(str, parts))}
        if _works(pip, from_parts, commands):
            return pip, from_parts
    if os.geteuid() == 0 and shutil.which("apt-get"):
        try:
            apt.ensure_packages(["python3-pip"], commands)
        except SandboxError as error:
            raise SandboxError(NO_PIP.message, f"{NO_PIP.hint}\n{error.message}") from None
        if _works(pip, env, commands):
            return pip, env
    raise NO_PIP


def _works(pip: list[str], env: dict[str, str], commands: Commands) -> bool:
    try:
        commands.run([*pip, "--version"], env=env)
    except CommandFailed:
        return False
    return True


def _bundled_pip() -> list[Path]:
    """The wheels of pip that come with Python's own ensurepip, or with the distribution's."""
    folders = [SYSTEM_WHEELS]
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip and ensurepip.origin:
        folders.insert(0, Path(ensurepip.origin).parent / "_bundled")
    found = (sorted(folder.glob("*.whl")) for folder in folders)
    return next((wheels for wheels in found if any(w.name.startswith("pip-") for w in wheels)), [])


def _fetch_pip(scratch: Path, commands: Commands) -> list[Path]:
    """The distribution's own pip, unpacked below ``scratch``."""
    unpacked = debian.unpack(PIP_PACKAGES, scratch, commands)
    for distutils in unpacked.glob("usr/lib/python3.*/distutils"):
        # Its __init__.py is in another package; without one, Python takes its own empty distutils.
        (distutils / "__init__.py").touch()
    wheels = sorted(unpacked.glob("usr/share/python-wheels/*.whl"))
    return [*wheels, *unpacked.glob("usr/lib/python3.*")]
