"""The first seconds on a box: a page that tells, the code in its place, and Python to go on with.

Only the standard library, and no newer syntax than Python 3.9's: the bootstrap imports it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.host import hardware
from sandbox.install import machine, releases, toolchain
from sandbox.install.environments import SOURCE, Installer, choose, in_release
from sandbox.install.lock import only_installer
from sandbox.install.timeline import Timeline
from sandbox.paths import Box, Paths

PAGE_UNIT = "ai-sandbox-progress-{}"
KEY = "prepare"


def main(arguments: Sequence[str]) -> int:
    """``bootstrap.py box [--bake] [--gpu]``: does not return when all went well."""
    parser = argparse.ArgumentParser(
        prog="bootstrap.py box", description="Install AI Sandbox on this machine."
    )
    parser.add_argument("--bake", action="store_true", help="for an image: start nothing")
    parser.add_argument("--gpu", action="store_true", help="for a GPU that is not here (--bake)")
    given = parser.parse_args(arguments)
    box = Box()
    # Ends the commands and keeps what is done: the next run goes on from there.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    problems = machine.problems()
    if problems:
        for problem in problems:
            print(f"ai-sandbox: {problem.message}\n{problem.hint}", file=sys.stderr)
        return 1
    try:
        with only_installer(box):
            command = _prepare(box, has_page=not given.bake)
    except SandboxError as error:
        print(f"ai-sandbox: {error.message}\n{error.hint}", file=sys.stderr)
        return int(error.exit_code)
    options = [f"--{name}" for name in ("bake", "gpu") if getattr(given, name)]
    # The fields of the StackScript are in the environment, and only there.
    os.execv(command, [str(command), "install", "--fields", *options])


def build_release() -> int:
    """``bootstrap.py release``: make and prove the environments of the release of this code."""
    box = Box()
    use_caches(box)
    has_gpu = hardware.has_nvidia_card() or hardware.has_nvidia_gpu()
    installer = Installer(SOURCE, SOURCE, box.tools, box.logs)
    try:
        installer.ensure([in_release(choose(name, has_gpu)) for name in ("base", "api", "ui")])
        toolchain.ensure_cuda_links(SOURCE / "api")
        toolchain.check_compiler(SOURCE / "api", installer.new_commands("compiler"))
    except SandboxError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        return int(error.exit_code)
    # By the new code: the settings, and that both programs can be imported.
    for environment, verb in (("base", "check"), ("api", "check-engine"), ("base", "check-page")):
        program = SOURCE / environment / "bin/ai-sandbox"
        code = subprocess.run([str(program), verb]).returncode
        if code:
            return code
    return 0


def use_caches(box: Box) -> None:
    """Have uv keep what it fetches below the installation, unless the person said where."""
    os.environ.setdefault("UV_CACHE_DIR", str(box.package_cache))


def _prepare(box: Box, has_page: bool) -> Path:
    """The program that goes on: `ai-sandbox` of the new release."""
    use_caches(box)
    release = releases.stage(SOURCE, box)
    timeline = Timeline(box.progress, os.environ.get("MODEL_ID", ""))
    with timeline:
        timeline.begin(KEY)
        if has_page and not _is_serving():
            show_page(release, box)
        timeline.say(KEY, f"release {release.name}")
        base = in_release(choose("base", has_gpu=False))
        installer = Installer(release, release, box.tools, box.logs)
        try:
            installer.make(base, lambda text: timeline.say(KEY, text))
        except SandboxError as error:
            timeline.fail(KEY, error.message, error.hint, box.logs)
            raise
        except BaseException:
            installer.end()
            raise
        timeline.end(KEY)
        # The one after the exec goes on with the same file.
        timeline.hand_over()
    return installer.folder(base) / "bin/ai-sandbox"


def show_page(release: Path, box: Box) -> None:
    """Start the progress page on both ports; one that is taken is left to who has it."""
    for port in ports(box):
        unit = PAGE_UNIT.format(port)
        # Of an installation before this one, that failed.
        end_page(port)
        python = shutil.which("python3") or sys.executable
        command = ["systemd-run", "--quiet", "--collect", f"--unit={unit}"]
        # A user of its own that exists as long as the page: it must only read.
        command += ["--property=DynamicUser=yes", "--property=ProtectHome=yes"]
        command += [f"--property=WorkingDirectory={release}", python]
        command += ["-m", "sandbox.install.progress_page", "--host", "0.0.0.0"]
        command += ["--port", str(port), "--file", str(box.progress)]
        # An installation without a page is better than none.
        _run(command)


def end_page(port: int) -> None:
    """Free ``port`` of the progress page."""
    _run(["systemctl", "stop", PAGE_UNIT.format(port)])
    _run(["systemctl", "reset-failed", PAGE_UNIT.format(port)])


def ports(box: Box) -> list[int]:
    """The API's port and the chat page's, as far as this old Python can tell them."""
    text = ""
    with contextlib.suppress(OSError):
        text = Paths.installed(box.root).env_file.read_text(encoding="utf-8", errors="replace")
    found = []
    for name, usual in (("API_PORT", 8000), ("UI_PORT", 3000)):
        match = re.search(rf"^\s*(?:export\s+)?{name}\s*=\s*['\"]?(\d+)", text, re.MULTILINE)
        found.append(int(match.group(1)) if match else usual)
    return found


def _is_serving() -> bool:
    """True when our API's service has the port already."""
    return _run(["systemctl", "is-active", "--quiet", "ai-sandbox-api.service"]) == 0


def _run(command: Sequence[str]) -> int:
    """Run ``command`` without a word; its exit status, 127 when it cannot be run."""
    silent = subprocess.DEVNULL
    try:
        return subprocess.run(command, stdin=silent, stdout=silent, stderr=silent).returncode
    except OSError:
        return 127
