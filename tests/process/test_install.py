"""The bootstrap as a program, with the real uv, on sources with one small package each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.package_index import package_index

ROOT = Path(__file__).resolve().parents[2]
# Each is in dev.txt, so that uv has it already.
PACKAGES = {"api-cpu": "iniconfig", "ui": "pluggy"}


def pinned(package: str) -> str:
    """The entry of ``package`` with its hashes, as in the lock of the tests."""
    lock = (ROOT / "requirements/dev.txt").read_text()
    match = re.search(rf"^{package}==.*\n(?:    --hash=.*\n)+", lock, re.MULTILINE)
    assert match
    return match.group()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The bootstrap with small locks, and the tools that the checkout has."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "sandbox/install", source / "sandbox/install")
    shutil.copytree(ROOT / "sandbox/host", source / "sandbox/host")
    for name in (
        "pyproject.toml",
        *(f"sandbox/{m}.py" for m in ("__init__", "errors", "cli", "paths")),
    ):
        shutil.copy(ROOT / name, source / name)
    (source / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/uv.txt", source / "requirements")
    for lock, package in PACKAGES.items():
        (source / f"requirements/{lock}.txt").write_text(pinned(package))
    return source


def bootstrap(
    source: Path, *names: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the bootstrap of ``source`` with the uv of this checkout on PATH."""
    path = f"{(ROOT / '.tools').absolute()}:{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, str(source / "sandbox/install/bootstrap.py"), *names],
        env={**os.environ, "PATH": path, **(environment or {})},
        capture_output=True,
        text=True,
    )


def installed(source: Path, folder: str) -> set[str]:
    return {p.name for p in (source / folder).glob("lib/python3.11/site-packages/*")}


def test_both_environments_are_made_and_the_command_works(source: Path) -> None:
    done = bootstrap(source, "api", "ui")
    assert done.returncode == 0, done.stderr
    assert "iniconfig" in installed(source, ".venv")
    assert "pluggy" in installed(source, ".venv-ui")
    version = subprocess.run(
        [str(source / ".venv/bin/ai-sandbox"), "--version"], capture_output=True, text=True
    )
    assert version.stdout.startswith("ai-sandbox ")


def test_a_second_run_installs_nothing_and_says_nothing(source: Path) -> None:
    bootstrap(source, "api", "ui")
    made = (source / ".venv/ai-sandbox-stamp").stat().st_mtime_ns
    done = bootstrap(source, "api", "ui")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (source / ".venv/ai-sandbox-stamp").stat().st_mtime_ns == made


def test_an_interrupted_installation_is_completed(source: Path) -> None:
    bootstrap(source, "ui")
    # As a kill in the middle leaves it: no stamp, and a package that looks whole and is not.
    (source / ".venv-ui/ai-sandbox-stamp").unlink()
    shutil.rmtree(source / ".venv-ui/lib/python3.11/site-packages/pluggy")
    assert bootstrap(source, "ui").returncode == 0
    assert "pluggy" in installed(source, ".venv-ui")


def test_a_changed_lock_replaces_what_was_there(source: Path) -> None:
    bootstrap(source, "ui")
    (source / "requirements/ui.txt").write_text(pinned("iniconfig"))
    assert bootstrap(source, "ui").returncode == 0
    assert "pluggy" not in installed(source, ".venv-ui")


def test_a_package_that_breaks_off_midway_is_fetched_again(source: Path, tmp_path: Path) -> None:
    cache = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    with package_index(tmp_path, PACKAGES["ui"], times=2) as environment:
        done = bootstrap(source, "ui", environment=environment | cache)
    assert done.returncode == 0, done.stderr
    assert "trying again in 2 s" in done.stderr
    assert PACKAGES["ui"] in installed(source, ".venv-ui")


def test_a_package_that_always_breaks_off_is_a_sentence(source: Path, tmp_path: Path) -> None:
    cache = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    with package_index(tmp_path, PACKAGES["ui"], times=99) as environment:
        done = bootstrap(source, "ui", environment=environment | cache)
    assert done.returncode == 1
    why = "The environment .venv-ui could not be made, because a server or the network failed:"
    assert f"{why}\n" in done.stderr
    assert "Check the network, then run the same command again" in done.stderr


def test_a_wrong_hash_is_refused_with_the_reason_and_the_log(source: Path) -> None:
    lock = source / "requirements/ui.txt"
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text()))
    done = bootstrap(source, "ui")
    assert done.returncode == 1
    assert ".venv-ui could not be made" in done.stderr
    assert "Hash mismatch" in done.stderr
    # It would be as wrong again.
    assert "trying again" not in done.stderr
    assert str(source / ".cache/install/ui.log") in done.stderr
    assert "Traceback" not in done.stderr


def test_the_other_environment_is_made_though_one_fails(source: Path) -> None:
    (source / "requirements/ui.txt").write_text(f"pluggy==0.0.0 --hash=sha256:{'0' * 64}\n")
    assert bootstrap(source, "api", "ui").returncode == 1
    assert (source / ".venv/ai-sandbox-stamp").exists()
    assert not (source / ".venv-ui/ai-sandbox-stamp").exists()
