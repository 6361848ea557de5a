"""Machines that boot: a minimal Debian with real systemd as its first process, in a container."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from sandbox.errors import SandboxError
from sandbox.host.ports import check_port_free
from tests.container.machine import CACHE, SHARED_FILES, SHARED_SETTINGS, package_cache
from tests.process.processes import wait_until
from tests.systemd.pythons import add_python

ROOT = Path(__file__).resolve().parents[2]
# No python3, no curl: the StackScript brings what it needs.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "ca-certificates")
# `make test-systemd-all` names others.
SUITE = os.environ.get("AI_SANDBOX_SUITE") or "bookworm"
SOURCE = "/root/ai-sandbox"
BOOT_S = 60
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Box:
    """One machine: a folder with its disk, and the container while it runs.

    All share this machine's network, and a StackScript knows only two ports: so one runs at a
    time, and who boots another shuts it down.
    """

    _running: ClassVar[Box | None] = None

    def __init__(self, root: Path) -> None:
        self.root = root
        self._container: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it; returns when systemd has started all units."""
        if self.is_running:
            return
        if Box._running and Box._running.is_running:
            Box._running.power_off()
        # The processes of a machine that was cut off end a moment after it.
        with contextlib.suppress(AssertionError):
            wait_until(ports_are_free, 30)
        check_ports()
        Box._running = self
        command = ["systemd-nspawn", "--quiet", "--directory", str(self.root), "--boot"]
        command += ["--register=no", "--keep-unit", "--resolv-conf=off", "--console=pipe"]
        command += [f"--bind-ro={path}" for path in _shared_files()]
        with (self.root.parent / "console.log").open("ab") as console:
            self._container = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        wait_until(self._is_up, BOOT_S, lambda: f"boot: {self._state()}\n{self.console}")

    def power_off(self) -> None:
        """Shut it down as `poweroff` does; its disk stays."""
        self.run("systemctl poweroff", check=False)
        self._wait_for_end(60)

    def power_cut(self) -> None:
        """End it without a word to anything inside."""
        assert self._container
        for pid in filter(None, (self._leader, self._container.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._wait_for_end(30)

    def end(self) -> None:
        """End it, whatever it does."""
        if self._container and self._container.poll() is None:
            self.power_cut()

    @property
    def is_running(self) -> bool:
        """True while the container is there."""
        return self._container is not None and self._container.poll() is None

    @property
    def leader(self) -> int:
        """The PID, outside of it, of the machine's first process."""
        return self._leader

    @property
    def console(self) -> str:
        """What its console showed."""
        return (self.root.parent / "console.log").read_text(errors="replace")[-8000:]

    def run(
        self,
        command: str,
        *,
        seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of shell as root in it; stdout and stderr are one."""
        done = subprocess.run(
            self.inside(command, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done

    def text(self, command: str) -> str:
        """What ``command`` prints, without blanks around it."""
        return self.run(command).stdout.strip()

    def state(self, unit: str) -> str:
        """What ``systemctl is-active`` calls it, whose exit status says the same again."""
        return self.run(f"systemctl is-active {unit}", check=False).stdout.strip()

    def has(self, pattern: str) -> bool:
        """True when the machine's disk has a file that matches ``pattern``, a path from /."""
        return any(self.root.glob(pattern.lstrip("/")))

    def inside(self, command: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs ``command`` in it, with nothing of our environment."""
        given = {"HOME": "/root", "TERM": "linux", "PATH": PATH, **(environment or {})}
        variables = [f"{name}={value}" for name, value in given.items()]
        # Twice: nsenter finds its program by our PATH, the shell by the machine's.
        enter = ["nsenter", "-t", str(self._leader), "-a", "/usr/bin/env", "-i", *variables]
        return [*enter, "/bin/bash", "-c", command]

    def add_source(self, version: str | None = None) -> None:
        """Put this checkout where root finds it; ``version`` makes another release of it."""
        add_source(self.root / SOURCE.lstrip("/"), version)

    def share_package_cache(self) -> None:
        """Give the installer what uv fetched before; nothing that it fetches comes back."""
        package_cache(self.root / "opt/ai-sandbox/cache")

    def stackscript(
        self, seconds: float = 600, check: bool = True, **fields: str
    ) -> subprocess.CompletedProcess[str]:
        """Run stackscript.sh as Linode does, with ``fields``."""
        return self.run(
            f"{SOURCE}/stackscript.sh",
            seconds=seconds,
            check=check,
            environment=registry_settings() | {"AI_SANDBOX_SOURCE": SOURCE} | fields,
        )

    def _is_up(self) -> bool:
        assert self._container and self._container.poll() is None, self.console
        # Asked each time: nspawn's first child is not yet the one that becomes the machine's init.
        self._leader = _first_child(self._container.pid)
        return bool(self._leader) and self._state() in ("running", "degraded")

    def _state(self) -> str:
        if not self._leader:
            return "no process yet"
        done = self.run("systemctl is-system-running", check=False)
        return done.stdout.strip()

    def _wait_for_end(self, seconds: float) -> None:
        assert self._container
        try:
            self._container.wait(seconds)
        except subprocess.TimeoutExpired:
            self._container.kill()
            self._container.wait(10)
        self._leader = 0


def registry_settings() -> dict[str, str]:
    """What this machine was told of its registries: it holds inside as well."""
    return {
        name: value
        for name, value in os.environ.items()
        if SHARED_SETTINGS.match(name) and name != "UV_CACHE_DIR"
    }


def ensure_base(suite: str) -> Path:
    """The disk of a minimal Debian, made once per machine."""
    CACHE.mkdir(parents=True, exist_ok=True)
    base = CACHE / f"{suite}-{'-'.join(PACKAGES)}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not base.is_dir():
            new = CACHE / f"new-{uuid.uuid4()}"
            make = ["mmdebstrap", "--quiet", "--variant=minbase"]
            made = subprocess.run(
                [*make, f"--include={','.join(PACKAGES)}", suite, str(new)],
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, made.stderr
            new.rename(base)
    return base


def add_source(folder: Path, version: str | None = None) -> None:
    """Copy this checkout, with what is not committed yet, to ``folder``."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    if version:
        init = folder / "sandbox/__init__.py"
        lines = init.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("__version__")]
        init.write_text("\n".join([*kept, f'__version__ = "{version}"', ""]))


@contextlib.contextmanager
def fork(disk: Path, installs: bool = False) -> Iterator[Box]:
    """A machine that begins as ``disk`` is, which is in no machine meanwhile and stays as it is.

    For one that ``installs`` what uv fetched before is in its own layer: of what is in ``disk``,
    each file would be copied when uv links to it.
    """
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fork-") as folder:
        layers = {name: Path(folder) / name for name in ("disk", "upper", "work")}
        for layer in layers.values():
            layer.mkdir()
        if installs:
            package_cache(layers["upper"] / "opt/ai-sandbox/cache")
        options = f"lowerdir={disk},upperdir={layers['upper']},workdir={layers['work']}"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(layers["disk"])]
        subprocess.run(mount, check=True)
        machine = Box(layers["disk"])
        try:
            yield machine
        finally:
            machine.end()
            subprocess.run(["umount", str(layers["disk"])], check=True)


@contextlib.contextmanager
def box(suite: str = SUITE) -> Iterator[Box]:
    """A fresh machine that is not booted yet; nothing of it is left at the end."""
    base = ensure_base(suite)
    with tempfile.TemporaryDirectory(dir=base.parent, prefix="box-") as folder:
        root = Path(folder) / "disk"
        subprocess.run(["cp", "-a", str(base), str(root)], check=True)
        add_python(root, suite)
        machine = Box(root)
        try:
            yield machine
        finally:
            machine.end()


def ports_are_free() -> bool:
    """True when nobody has the two ports."""
    try:
        check_ports()
    except SandboxError:
        return False
    return True


def check_ports() -> None:
    """Fail with the holder's name when one of the two ports is in use on this machine."""
    for name, port in (("API_PORT", 8000), ("UI_PORT", 3000)):
        check_port_free("0.0.0.0", port, name)


def _shared_files() -> list[str]:
    shared = [*SHARED_FILES, *os.environ.get("PIP_FIND_LINKS", "").split()]
    return [path for path in shared if Path(path).exists()]


def _first_child(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return 0
