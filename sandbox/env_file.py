"""Writes the env file: text that a person typed is data, and comes back exactly or is refused."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from dotenv.parser import Binding, parse_stream
from pydantic import ValidationError

from sandbox.errors import ConfigError, SandboxError
from sandbox.settings import SECRETS, Settings, check_name, metadata, read_env_file

# The fields of stackscript.sh (Linode's UDFs), and the setting that each fills. Linode masks a
# field, and keeps it out of its logs, when "password" is in its name.
UDFS = MappingProxyType(
    {
        "MODEL_ID": "MODEL_ID",
        "HF_TOKEN_PASSWORD": "HF_TOKEN",
        "ACCESS": "ACCESS",
        "API_KEY_PASSWORD": "API_KEY",
        "MAX_MODEL_LEN": "MAX_MODEL_LEN",
    }
)
NEW_FILE_MODE = 0o640
PLAIN = re.compile(r"[\w./:@%+,=-]+", re.ASCII)
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
# What stands around the value of an assignment: before it, a comment after it, the line's end.
ASSIGNMENT = re.compile(
    r"""(\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*=)"""
    r"""(?:[^\S\r\n]*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")(?=[^\S\r\n]*(?:\#|[\r\n]|$))"""
    r"""|[^\r\n]*?(?=[^\S\r\n]+\#|[^\S\r\n]*(?:[\r\n]|$)))"""
    r"""([^\S\r\n]*(?:\#[^\r\n]*)?)((?:\r\n|\n|\r)?)""",
    re.DOTALL,
)


def set_values(file: Path, values: Mapping[str, str], sample: Path | None = None) -> bool:
    """Give the settings in ``values`` their value in ``file``; True when the file was changed.

    Every other line stays as it is. A setting without an assignment gets one in place of the
    line of ``sample`` that shows it, else below a comment that does, else at the end. A file that
    does not exist begins as ``sample``. Readers see the old file or the new one. Raises
    ``ConfigError`` for a broken file or a value that cannot be written, ``SandboxError`` when the
    disk refuses; then nothing was changed.
    """
    for name, value in values.items():
        check_name(name, "to be set")
        _check_text(name, value)
    file = file.resolve()
    present = {n: v.value for n, v in read_env_file(file).items()} if file.exists() else {}
    changed = {n: value for n, value in values.items() if present.get(n, "") != value}
    if file.exists() and not changed:
        return False
    shown = _read(sample) if sample else ""
    text = _read(file) if file.exists() else shown
    lines = [binding.original.string for binding in _parse(text)]
    for name, value in changed.items():
        _assign(lines, name, _quote(value), shown.splitlines())
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    _replace(file, bom + "".join(lines), {**present, **changed})
    return True


def from_udf(
    environment: Mapping[str, str], present: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """The settings that were typed into the fields of stackscript.sh; empty ones are left out.

    Blanks around a value are dropped: they come with pasting. ``present`` is what the env file
    says already; when the API will be protected and has no key there either, one is made.
    Raises ``ConfigError`` that names every wrong value.
    """
    given = {setting: environment.get(udf, "").strip() for udf, setting in UDFS.items()}
    values = {setting: value for setting, value in given.items() if value}
    try:
        Settings(**values)  # type: ignore[arg-type]  # parsing the text is what it is for
    except ValidationError as error:
        names = list(dict.fromkeys(str(e["loc"][0]) for e in error.errors()))
        raise ConfigError(
            "\n".join(f"{_show(n, values[n])}; it must be {metadata(n)['rule']}." for n in names),
            f"Start again with for example {names[0]}={metadata(names[0])['example']}.",
        ) from None
    in_force = {**present, **values}
    if in_force.get("ACCESS") == "protected" and not in_force.get("API_KEY"):
        values["API_KEY"] = f"sk-{secrets.token_hex(24)}"
    return values


def _show(name: str, value: str) -> str:
    return f"{name} is {'a secret that is not shown' if name in SECRETS else repr(value)}"


def _check_text(name: str, value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        what = "text that is not UTF-8"
    else:
        if "\0" not in value:
            return
        what = "a NUL character"
    raise ConfigError(f"The value of {name} has {what} in it.", "Type it again without.")


def _quote(value: str) -> str:
    """``value`` as the reader of the env file takes it; $ and ` are inert in a shell as well."""
    if not value or PLAIN.fullmatch(value):
        return value
    if not re.search(r"['\\\r\n]", value):
        return f"'{value}'"
    return '"' + "".join(ESCAPES.get(character, character) for character in value) + '"'


def _parse(text: str) -> list[Binding]:
    return list(parse_stream(io.StringIO(text, newline="")))


def _assign(lines: list[str], name: str, quoted: str, shown: Iterable[str]) -> None:
    """Put the assignment where it belongs in ``lines``: whole assignments, and what is between."""
    places = [i for i, line in enumerate(lines) if _parse(line)[0].key == name]
    if places:
        # The last one is in force.
        around = ASSIGNMENT.fullmatch(lines[places[-1]])
        assert around, "the parser and ASSIGNMENT read the same lines"
        before, after, end = around.groups()
        # Right behind an unquoted value, # would be part of it.
        after = f" {after}" if after.startswith("#") else after
        lines[places[-1]] = f"{before}{quoted}{after}{end or chr(10)}"
        return
    comment = re.compile(rf"(\s*)(\#\s*{name}\s*=.*?)\s*", re.DOTALL)
    for i, line in enumerate(lines):
        found = comment.fullmatch(line)
        if found:
            blank, text = found.groups()
            kept = "" if text in shown else f"{text}\n"
            lines[i] = f"{blank}{kept}{name}={quoted}\n"
            return
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += "\n"
    lines.append(f"{name}={quoted}\n")


def _read(file: Path) -> str:
    # With the line ends as they are: what is not set anew stays as it is.
    with file.open(encoding="utf-8", newline="") as stream:
        return stream.read()


def _replace(file: Path, text: str, expected: Mapping[str, str]) -> None:
    """Write ``text`` and, when it says what is ``expected``, put it in the place of ``file``."""
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        new = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                _own_as(file, stream.fileno())
                stream.flush()
                os.fsync(stream.fileno())
            _check_reads_back(new, file, expected)
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise SandboxError(
            f"{file} could not be written: {error.strerror}.",
            "Settings are written as root, to a disk with space left.",
        ) from None


def _own_as(file: Path, handle: int) -> None:
    """Give the open file ``handle`` owner and mode of ``file``, or those of a new env file."""
    if not file.exists():
        os.fchmod(handle, NEW_FILE_MODE)
        return
    status = file.stat()
    os.fchown(handle, status.st_uid, status.st_gid)
    os.fchmod(handle, stat.S_IMODE(status.st_mode))


def _check_reads_back(new: Path, file: Path, expected: Mapping[str, str]) -> None:
    got = {name: value.value for name, value in read_env_file(new).items()}
    wrong = [name for name in {**got, **expected} if got.get(name) != expected.get(name)]
    if wrong:
        raise ConfigError(
            f"{file} could not be written so that {', '.join(wrong)} would be read back "
            "unchanged; it stays as it was.",
            "Set it in the file by hand.",
        )
