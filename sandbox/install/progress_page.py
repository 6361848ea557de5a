"""Serves what the installer does now on a port whose service is not there yet.

``python3 -m sandbox.install.progress_page --host 0.0.0.0 --port 3000 --file progress.json``

Only the standard library, and no newer syntax than Python 3.9's: it runs on the machine's own
python3 while ours is still on its way.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.host import ports, small_server
from sandbox.host.small_server import Answer, Request

PAGE = Path(__file__).with_name("progress_page.html")
# A running installer writes more often, even when nothing has changed.
SILENCE_S = 60.0
RETRY_AFTER_S = 15
# The log of all that the first boot does.
BOOT_LOG = "/var/log/stackscript.log"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the return value is the exit code."""
    parser = argparse.ArgumentParser(description="Show the installer's progress on a port.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True, help="JSON that the installer writes")
    options = parser.parse_args(arguments)
    try:
        listener = ports.bind(options.host, options.port, "port")
    except SandboxError as error:
        print(error.message, file=sys.stderr)
        return int(error.exit_code)
    listener.listen(1024)
    small_server.serve(listener, lambda request: answer(request, options.file, time.time()))
    return 0


def answer(request: Request, file: Path, now: float) -> Answer:
    """The page for people, the installer's JSON for the page, an explanation for programs.

    ``now`` is Unix time.
    """
    progress = read(file, now)
    if request.path == "/progress.json" and request.method in ("GET", "HEAD"):
        return small_server.json_answer(200, progress, {small_server.PAGE_HEADER: "installation"})
    if not small_server.is_for_people(request):
        return small_server.unavailable(sentence(progress), RETRY_AFTER_S)
    text = PAGE.read_text(encoding="utf-8")
    # In a script element only "</" could end it; it is escaped as JSON allows.
    first = json.dumps(progress).replace("<", "\\u003c")
    text = text.replace("{{sentence}}", html.escape(sentence(progress)))
    text = text.replace("{{progress}}", first)
    return small_server.page("installation", text, request, RETRY_AFTER_S)


def read(file: Path, now: float) -> dict[str, Any]:
    """What the installer last wrote, as of ``now`` (Unix time).

    ``state`` is the installer's ``running``, ``failed`` or ``done``, or ``silent`` when it should
    have written since, or ``unknown`` when there is nothing to read. ``elapsed`` is in seconds,
    ``message`` a sentence for ``silent`` and ``unknown``, and what to do is in ``hint``.
    """
    try:
        written_at = file.stat().st_mtime
        progress = _checked(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _unknown("The installer has not reported anything yet.")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return _unknown(f"What the installer reports in {file} cannot be read.")
    silence = now - written_at
    if progress["state"] == "running":
        if silence > SILENCE_S:
            progress["state"] = "silent"
            progress["message"] = f"The installer has said nothing for {_duration(silence)}."
            progress["hint"] = (
                "It may have been stopped. Run `sudo ai-sandbox install` on the server to go on "
                f"from here; {BOOT_LOG} there says what happened."
            )
        else:
            since = max(0.0, now - progress["now"])
            for step in progress["steps"]:
                if step["state"] == "running" and step["seconds"] is not None:
                    step["seconds"] += since
            progress["now"] += since
    progress["elapsed"] = max(0.0, progress["now"] - progress["began"])
    return progress


def sentence(progress: dict[str, Any]) -> str:
    """What is going on, and what to do, for a person who sees only this."""
    state, steps = progress["state"], progress["steps"]
    ended = sum(step["state"] in ("done", "skipped") for step in steps)
    if state == "running":
        return (
            f"AI Sandbox is being installed: {ended} of {len(steps)} steps are done, "
            f"{progress['percent']}%. Try again in a few minutes; the page at / shows the progress."
        )
    if state == "done":
        return "AI Sandbox is installed, and its service is starting. Try again in a few seconds."
    failure = progress["failure"]
    if state == "failed" and failure:
        parts = [
            f"The installation of AI Sandbox failed at the step '{failure['step']}':",
            failure["reason"],
            failure["hint"],
            f"The log on the server is {failure['log']}." if failure["log"] else "",
        ]
        return " ".join(part for part in parts if part)
    if state == "failed":
        return f"The installation of AI Sandbox failed. {BOOT_LOG} on the server says why."
    return f"AI Sandbox is not installed yet. {progress['message']} {progress['hint']}"


def _checked(raw: dict[str, Any]) -> dict[str, Any]:
    """Only what the page shows, whatever else the file has; raises when something is missing."""
    if raw["state"] not in ("running", "failed", "done"):
        raise ValueError(raw["state"])
    failure = raw["failure"]
    return {
        "model": str(raw["model"]),
        "state": raw["state"],
        "percent": min(100, max(0, int(raw["percent"]))),
        "began": float(raw["began"]),
        "now": float(raw["now"]),
        "steps": [
            {
                "name": str(step["name"]),
                "state": str(step["state"]),
                "percent": None if step["percent"] is None else int(step["percent"]),
                "seconds": None if step["seconds"] is None else float(step["seconds"]),
            }
            for step in raw["steps"]
        ],
        "failure": failure
        and {name: str(failure[name]) for name in ("step", "reason", "hint", "log")},
        "message": "",
        "hint": "",
    }


def _unknown(message: str) -> dict[str, Any]:
    return {
        "model": "",
        "state": "unknown",
        "percent": 0,
        "elapsed": 0.0,
        "steps": [],
        "failure": None,
        "message": message,
        "hint": f"It should within seconds. If it does not, see {BOOT_LOG} on the server.",
    }


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 2:
        return f"{seconds:.0f} seconds"
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"


if __name__ == "__main__":
    sys.exit(main())
