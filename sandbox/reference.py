"""Writes what is generated from the settings: the reference page and the commented sample file.

``python -m sandbox.reference`` writes both; a test fails when they are not what it would write.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sandbox.settings import NAMES, metadata

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/reference/settings.md"
SAMPLE = ROOT / "ai-sandbox.env.sample"


def page() -> str:
    """docs/reference/settings.md."""
    lines = [
        "# Settings",
        "",
        "<!-- Written by `make reference` from sandbox/settings.py. -->",
        "",
        "A setting comes from the process environment, else from the env file, else it has its",
        "default. The env file is `/etc/ai-sandbox.env` on an installed box, `ai-sandbox.env` in",
        "the folder of a clone; `--env-file FILE` names another. In a clone every setting can also",
        "stand on the line: `make run MODEL_ID=Qwen/Qwen3-0.6B API_PORT=18000`.",
        "",
        "The file has one `NAME=value` a line; `#` begins a comment. Values are data: nothing is",
        "expanded or executed. A value with spaces, quotes or `#` stands in quotes. A name that is",
        "not in the table is refused, with a suggestion. An empty value means that the setting is",
        "not given there.",
        "",
        "Keep `API_KEY` and `HF_TOKEN` in the file, which only root and the services may read: "
        "what stands on a command line",
        "can be read by every user of the machine.",
        "",
        "`ai-sandbox settings` prints what is in force and where each value came from;",
        "`ai-sandbox check` says whether all is right and exits with 78 when it is not.",
        "[ai-sandbox.env.sample](../../ai-sandbox.env.sample) is a file to start from.",
        "",
        "| setting | default | what it does | it must be |",
        "|---|---|---|---|",
    ]
    for name in NAMES:
        about = metadata(name)
        lines.append(f"| `{name}` | {about['default']} | {about['doc']} | {about['rule']} |")
    return "\n".join(lines) + "\n"


def sample() -> str:
    """ai-sandbox.env.sample: every setting as a comment with its line of documentation."""
    lines = [
        "# Settings of AI Sandbox. Copy to /etc/ai-sandbox.env on a box, or to ai-sandbox.env in a",
        "# clone. Values are data: nothing is expanded. Check with: ai-sandbox check",
    ]
    for name in NAMES:
        about = metadata(name)
        default = about["default"].replace("`", "") or "empty"
        lines += ["", f"# {about['doc'].replace('`', '')}", f"# Default: {default}."]
        lines.append(f"# {name}={_quoted(about['example'])}")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value


def main() -> int:
    """Write both files."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    SAMPLE.write_text(sample(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
