"""apt-get, apt-cache and dpkg-query of a small distribution, kept in text files.

As a program (``python package_manager.py FOLDER NAME ARGUMENTS...``) it acts as the program NAME.
In FOLDER: ``archive`` has a line "name: what it needs" for each package, ``installed`` one name a
line, ``broken`` (if there) what apt-get says in place of working: a line for each call, an empty
one for a call that works.
"""

from __future__ import annotations

import sys
from pathlib import Path


class Distribution:
    """The files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def archive(self) -> dict[str, list[str]]:
        lines = (self.folder / "archive").read_text().splitlines()
        return {name: needs.split() for name, _, needs in (line.partition(":") for line in lines)}

    def installed(self) -> list[str]:
        return (self.folder / "installed").read_text().split()

    def closure(self, names: list[str]) -> list[str]:
        found: list[str] = []
        for name in names:
            if name not in found:
                found += [*(n for n in self.closure(self.archive()[name]) if n not in found), name]
        return found

    def dependents(self, names: list[str]) -> list[str]:
        gone = [name for name in names if name in self.installed()]
        while True:
            more = [
                name
                for name in self.installed()
                if name not in gone and set(self.archive().get(name, [])) & set(gone)
            ]
            if not more:
                return gone
            gone += more


def apt_get(here: Distribution, arguments: list[str]) -> int:
    words = [a for a in arguments if not a.startswith("-") and "::" not in a]
    verb, names = words[0], words[1:]
    broken = here.folder / "broken"
    if "--simulate" not in arguments and broken.exists() and broken.read_text():
        first, _, rest = broken.read_text().partition("\n")
        broken.write_text(rest)
        if first:
            print(first)
            return 100
    if verb == "update":
        newer = here.folder / "archive.newer"
        if newer.exists():
            newer.replace(here.folder / "archive")
        (here.folder / "lists/partial").mkdir(parents=True, exist_ok=True)
        (here.folder / "lists/one_Packages").touch()
        return 0
    unknown = [name for name in names if name not in here.archive()]
    if verb == "install" and unknown:
        print(f"E: Unable to locate package {unknown[0]}")
        return 100
    now = here.installed()
    if verb == "install":
        new = [name for name in here.closure(names) if name not in now]
        after = now + new
        told = [f"Inst {name} (1.0 here [amd64])" for name in new]
    else:
        gone = here.dependents(names)
        after = [name for name in now if name not in gone]
        told = [f"Purg {name} [1.0]" for name in gone]
    if "--simulate" in arguments:
        print(*told, sep="\n")
    else:
        (here.folder / "installed").write_text("\n".join(after))
    return 0


def main(folder: str, name: str, *arguments: str) -> int:
    here = Distribution(Path(folder))
    if name == "apt-get":
        return apt_get(here, list(arguments))
    if name == "apt-cache":
        known = arguments[-1] in here.archive()
        print(f"{arguments[-1]}:\n  Candidate: {'1.0' if known else '(none)'}")
        return 0
    if "Version" in " ".join(arguments):
        print("580.95.05-0ubuntu0", end="")
        return 0
    print(*(f"installed {package}" for package in here.installed()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
