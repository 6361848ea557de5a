"""A clean Debian on this machine's kernel and network, typed at through a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.process.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
# What the README asks for; python3 brings Python 3.11 here.
PACKAGES = ("git", "make", "python3", "ca-certificates")
SUITE = "bookworm"
CHECKOUT = "root/ai-sandbox"
# What this machine was told about its registries and certificates holds inside as well.
SHARED_SETTINGS = re.compile(
    r"^(PIP_|UV_|SSL_CERT_|REQUESTS_CA|CURL_CA|https?_proxy|no_proxy)", re.I
)
SHARED_FILES = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-sandbox-tests"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def ensure_base() -> Path:
    """The folder of a minimal Debian, made once per machine."""
    CACHE.mkdir(parents=True, exist_ok=True)
    base = CACHE / f"{SUITE}-{'-'.join(PACKAGES)}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not base.is_dir():
            new = CACHE / f"new-{uuid.uuid4()}"
            include = f"--include={','.join(PACKAGES)}"
            # In the cache and not /tmp: mmdebstrap's user must reach it, and /tmp may be small.
            made = subprocess.run(
                ["mmdebstrap", "--quiet", "--variant=minbase", include, SUITE, str(new)],
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, made.stderr
            new.rename(base)
    return base


class Terminal:
    """A shell of root's in the machine; ``type`` as a person does, and read what it shows."""

    def __init__(self, command: list[str]) -> None:
        self._keyboard, screen = pty.openpty()
        self._shown = b""
        self.process = subprocess.Popen(
            command, stdin=screen, stdout=screen, stderr=screen, start_new_session=True
        )
        os.close(screen)
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def shown(self) -> str:
        """All that was shown so far, without colours and cursor movements."""
        return CONTROL.sub("", self._shown.decode(errors="replace"))

    def type(self, line: str) -> None:
        """Type ``line`` and press Enter."""
        os.write(self._keyboard, f"{line}\n".encode())

    def press_ctrl_c(self) -> None:
        """Interrupt what runs in the foreground."""
        os.write(self._keyboard, b"\x03")

    def wait_for(self, pattern: str, seconds: float, times: int = 1) -> None:
        """Return when a match of ``pattern`` was shown ``times`` times."""

        def is_shown() -> bool:
            assert self.process.poll() is None, f"the machine ended:\n{self.shown}"
            return len(re.findall(pattern, self.shown, re.MULTILINE)) >= times

        wait_until(is_shown, seconds, lambda: f"{pattern!r} in:\n{self.shown}")

    def run(self, line: str, seconds: float = 30) -> str:
        """Type ``line`` and return what it shows until it is done."""
        mark = f"done-{uuid.uuid4()}"
        before = len(self.shown)
        # Split in the middle, so that the line as typed does not look like its result.
        self.type(f"{line}; echo {mark[:9]}''{mark[9:]}")
        self.wait_for(mark, seconds)
        return self.shown[before:].split("\n", 1)[1].split(mark)[0]

    def _read(self) -> None:
        # The kernel reports the end of the other side as an error.
        with contextlib.suppress(OSError):
            while data := os.read(self._keyboard, 65536):
                self._shown += data


class Machine:
    """A copy of the base with the checkout in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add_checkout(self) -> Path:
        """Put a clone of this checkout, with what is not committed yet, where root's home is."""
        checkout = self.root / CHECKOUT
        checkout.mkdir(parents=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, checkout / name)
        subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
        return checkout

    def share_package_cache(self) -> None:
        """Give the machine what uv fetched before; nothing that it fetches comes back."""
        package_cache(self.root / "root/.cache/uv")

    @contextlib.contextmanager
    def terminal(self) -> Iterator[Terminal]:
        """A shell in the started machine; the machine ends with it."""
        command = ["systemd-nspawn", "--quiet", "--directory", str(self.root), "--as-pid2"]
        command += ["--register=no", "--keep-unit", "--resolv-conf=off"]
        shared = [*SHARED_FILES, *os.environ.get("PIP_FIND_LINKS", "").split()]
        command += [f"--bind-ro={path}" for path in shared if Path(path).exists()]
        for name, value in os.environ.items():
            if SHARED_SETTINGS.match(name) and name != "UV_CACHE_DIR":
                command.append(f"--setenv={name}={value}")
        terminal = Terminal([*command, "/bin/bash", "--norc", "-i"])
        try:
            yield terminal
        finally:
            terminal.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                terminal.process.wait(10)
            terminal.process.kill()
            terminal.process.wait()


def package_cache(target: Path) -> None:
    """Fill ``target`` with what uv fetched before on this machine."""
    uv = [str(ROOT / ".tools/uv"), "cache", "dir"]
    cache = Path(subprocess.run(uv, check=True, capture_output=True, text=True).stdout.strip())
    target.parent.mkdir(parents=True, exist_ok=True)
    # Links, so that uv can link on from there into environments. The copy is a fallback for
    # another file system.
    if subprocess.run(["cp", "-al", str(cache), str(target)], stderr=subprocess.DEVNULL).returncode:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(cache, target, symlinks=True)


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A fresh machine; nothing of it is left at the end."""
    base = ensure_base()
    # Beside the base: on one file system, and nspawn makes the parent folders visible to nobody.
    with tempfile.TemporaryDirectory(dir=base.parent, prefix="run-") as folder:
        root = Path(folder) / "machine"
        subprocess.run(["cp", "-a", str(base), str(root)], check=True)
        yield Machine(root)
