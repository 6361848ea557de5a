"""What a box gets of the code, as an archive; and a release: the archive and its stackscript.sh.

Only the standard library, nothing of the project, and no newer syntax than Python 3.9's:
stackscript.sh runs this file alone, before anything is installed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
# Files, and folders with all in them. Each must be there.
CONTENT = (
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "ai-sandbox.env.sample",
    "pyproject.toml",
    "requirements",
    "sandbox",
    "systemd",
)
NOT_IN_IT = re.compile(r"__pycache__|.*\.(py[co]|egg-info)|\..*")
# A StackScript that is longer is refused by Linode.
STACKSCRIPT_LIMIT = 65_535
# Without what a shell would read as more than text.
URL = re.compile(r"https?://[^\s'\"\\$`]+")


class PackError(Exception):
    """What is wrong with the copy or with what was asked for, as a sentence."""


def files(source: Path) -> Iterator[Path]:
    """The files that a box gets, relative to ``source``, in an order that is always the same.

    Raises ``PackError`` when something is not there.
    """
    for name in CONTENT:
        top = source / name
        if not top.exists():
            raise PackError(f"{source} is not a copy of AI Sandbox: it has no {name}.")
        for path in sorted([top] if top.is_file() else top.rglob("*")):
            file = path.relative_to(source)
            if path.is_file() and not any(map(NOT_IN_IT.fullmatch, file.parts)):
                yield file


def version(source: Path) -> str:
    """The version that the code in ``source`` gives itself."""
    text = (source / "sandbox/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([\w.+-]+)"$', text, re.MULTILINE)
    if not found:
        raise PackError(f"{source}/sandbox/__init__.py has no __version__.")
    return found.group(1)


def archive(source: Path) -> bytes:
    """The .tar.gz of ``files``: the same bytes for the same files, whoever packs them and when."""
    top = f"ai-sandbox-{version(source)}"
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as stream, tarfile.open(
        fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT
    ) as tar:  # fmt: skip
        for file in files(source):
            content = (source / file).read_bytes()
            entry = tarfile.TarInfo(f"{top}/{file.as_posix()}")
            entry.size = len(content)
            entry.mode = 0o755 if (source / file).stat().st_mode & 0o100 else 0o644
            # As in gzip's header: any fixed time; tools warn at those before 1980.
            entry.mtime = 315_532_800
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def stamped(stackscript: str, pins: dict[str, str]) -> str:
    """``stackscript`` with ``pins`` (name to value) in their empty places."""
    for name, value in pins.items():
        stackscript, count = re.subn(rf"^{name}=''$", f"{name}='{value}'", stackscript, flags=re.M)
        if count != 1:
            raise PackError(f"stackscript.sh has {count} lines {name}=''; it must have one.")
    if len(stackscript.encode()) > STACKSCRIPT_LIMIT:
        raise PackError(f"stackscript.sh is longer than Linode's {STACKSCRIPT_LIMIT} bytes.")
    return stackscript


def release(source: Path, folder: Path, url: str) -> None:
    """Write the archive, and the stackscript.sh that fetches it from ``url``, into ``folder``."""
    name = f"ai-sandbox-{version(source)}.tar.gz"
    if not URL.fullmatch(url):
        raise PackError(
            f"RELEASE_URL is {url!r}; it must be the http or https address where the archive will "
            f"be. For example: make release RELEASE_URL=https://HOST/{name}"
        )
    packed = archive(source)
    digest = hashlib.sha256(packed).hexdigest()
    script = (source / "stackscript.sh").read_text(encoding="utf-8")
    script = stamped(script, {"RELEASE_URL": url, "RELEASE_SHA256": digest})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(packed)
    (folder / "stackscript.sh").write_text(script, encoding="utf-8")
    (folder / "stackscript.sh").chmod(0o755)
    print(f"{file}\n  sha256 {digest}\n  upload it to {url}")
    print(f"{folder / 'stackscript.sh'}\n  paste it into a StackScript (docs/linode.md)")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: ``pack.py archive FILE`` or ``pack.py release FOLDER URL``."""
    parser = argparse.ArgumentParser(description="Pack what a box gets of AI Sandbox.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, words in (("archive", ["file"]), ("release", ["folder", "url"])):
        command = verbs.add_parser(verb)
        for word in words:
            command.add_argument(word, type=str if word == "url" else Path)
    given = parser.parse_args(arguments)
    try:
        if given.verb == "archive":
            given.file.write_bytes(archive(SOURCE))
        else:
            release(SOURCE, given.folder, given.url)
    except (PackError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
