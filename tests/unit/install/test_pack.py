"""What a box gets of the code: which files, always the same bytes, and the script that names it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from sandbox import __version__
from sandbox.install import pack

URL = "https://downloads.example.com/a.tar.gz?x=1&y=%20"


def copy(folder: Path) -> Path:
    """A copy of the code that has all that it must, and more."""
    for name in pack.CONTENT:
        file = folder / (name if (pack.SOURCE / name).is_file() else f"{name}/a.txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (folder / "sandbox/__init__.py").write_text('"""x"""\n\n__version__ = "1.2.3"\n')
    (folder / "sandbox/run.sh").write_text("#!/bin/sh\n")
    (folder / "stackscript.sh").write_bytes((pack.SOURCE / "stackscript.sh").read_bytes())
    return folder


def test_a_box_gets_what_is_in_git_and_nothing_else() -> None:
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", *pack.CONTENT]
    listed = subprocess.run(command, cwd=pack.SOURCE, capture_output=True, text=True, check=True)
    there = {name for name in listed.stdout.splitlines() if (pack.SOURCE / name).is_file()}
    assert {str(file) for file in pack.files(pack.SOURCE)} == there


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = copy(tmp_path / "a"), copy(tmp_path / "b")
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() else 0o600)
    (second / "sandbox/__pycache__").mkdir()
    (second / "sandbox/__pycache__/a.pyc").write_text("x")
    (second / "data").mkdir()
    assert pack.archive(first) == pack.archive(second)


def test_the_archive_says_nothing_of_who_packed_it(tmp_path: Path) -> None:
    source = copy(tmp_path)
    (source / "sandbox/run.sh").chmod(0o744)
    with tarfile.open(fileobj=BytesIO(pack.archive(source))) as tar:
        members = {member.name: member for member in tar}
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members.values()} == {(0, 0, "", "")}
    assert members["ai-sandbox-1.2.3/sandbox/run.sh"].mode == 0o755
    assert members["ai-sandbox-1.2.3/LICENSE"].mode == 0o644


@pytest.mark.parametrize("name", ["systemd", "LICENSE"])
def test_a_copy_that_lacks_something_is_refused(tmp_path: Path, name: str) -> None:
    source = copy(tmp_path)
    (source / name).rename(source / "elsewhere")
    with pytest.raises(pack.PackError, match=f"it has no {name}"):
        pack.archive(source)


def test_a_release_is_an_archive_and_a_script_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack.release(copy(tmp_path / "a"), tmp_path / "out", URL)
    packed = (tmp_path / "out/ai-sandbox-1.2.3.tar.gz").read_bytes()
    script = (tmp_path / "out/stackscript.sh").read_text()
    digest = hashlib.sha256(packed).hexdigest()
    assert f"\nRELEASE_URL='{URL}'\nRELEASE_SHA256='{digest}'\n" in script
    assert digest in capsys.readouterr().out


@pytest.mark.parametrize(
    "url", ["", "example.com/a", "ftp://h/a", "https://h/a b", "https://h/'; reboot; '"]
)
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(pack.PackError, match="make release RELEASE_URL=https://HOST/ai-sandbox-"):
        pack.release(copy(tmp_path / "a"), tmp_path / "out", url)
    assert not (tmp_path / "out").exists()


def test_the_script_in_the_repository_names_no_release() -> None:
    script = (pack.SOURCE / "stackscript.sh").read_text()
    assert "\nRELEASE_URL=''\nRELEASE_SHA256=''\n" in script


def test_a_script_without_a_place_for_the_release_is_refused() -> None:
    with pytest.raises(pack.PackError, match="has 0 lines"):
        pack.stamped("#!/bin/bash\n", {"RELEASE_URL": URL})


def test_a_script_that_linode_does_not_take_is_refused() -> None:
    with pytest.raises(pack.PackError, match="longer than"):
        pack.stamped("# x\n" * 20_000, {})


def test_the_version_is_that_of_the_code() -> None:
    assert pack.version(pack.SOURCE) == __version__
