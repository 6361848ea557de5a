"""What `ai-sandbox status` and `ai-sandbox settings` print."""

from __future__ import annotations

import http.client
import json
from typing import Any

from sandbox.errors import ExitCode
from sandbox.models.download.progress import size
from sandbox.settings import NAMES, SECRETS, Loaded, Settings


def ask(settings: Settings) -> dict[str, Any] | None:
    """What the API of ``settings`` says of itself; None when no AI Sandbox answers there."""
    host, _ = where(settings)
    try:
        connection = http.client.HTTPConnection(host, settings.api_port, timeout=5)
        connection.request("GET", "/status")
        status: dict[str, Any] = json.load(connection.getresponse())
        if "phases" not in status:
            raise ValueError("another program")
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        return None
    return status


def print_status(settings: Settings, as_json: bool) -> int:
    """Ask the running API what it does; exit 0 when a model answers, else 1."""
    status = ask(settings)
    at = "{}:{}".format(*where(settings))
    if status is None:
        print(f"No AI Sandbox answers on {at}: it is not running, or on another port.")
        print("Start it with `make run` in a clone, or set API_PORT to the port it has.")
        return ExitCode.FAILURE
    ready = status.get("state") == "ready"
    code = ExitCode.OK if ready else ExitCode.FAILURE
    if as_json:
        print(json.dumps(status, indent=2))
        return code
    rows = [("state", status["state"]), ("", status["message"]), ("", status["hint"])]
    rows += [("progress", _progress(status)), ("model", status["model"])]
    rows += [(name.replace("_", " "), value) for name, value in status["details"].items()]
    passed = [f"{p['state']} {p['seconds']:.1f} s" for p in status["phases"] if p["seconds"]]
    rows += [("start", ", ".join(passed)), ("restarts", status["restarts"] or "")]
    rows += [("API", f"http://{at}/v1")]
    if following := status.get("next"):
        rows += [("next model", f"{following['model']}: {following['state']}")]
        rows += [("", following["message"]), ("", following["hint"]), ("", _progress(following))]
    rows += [("last reload", status.get("notice", ""))]
    rows += [("last backup", _ago(status))]
    for name, value in rows:
        if value not in ("", None, []):
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{name:<21} {shown}")
    return code


def _progress(step: dict[str, Any]) -> str:
    """Such as ``43.0%, 58.2 MB/s``; the bytes and the time left are in the message."""
    progress = step["progress"] or {}
    if progress.get("percent") is None:
        return ""
    rate = progress["bytes_per_second"]
    return f"{progress['percent']}%{f', {size(rate)}/s' if rate else ''}"


def _ago(status: dict[str, Any]) -> str:
    """How long ago the last good backup was made."""
    backup = status.get("backup")
    if not backup:
        return "none (make one: ai-sandbox backup)"
    hours = (status["now"] - backup["time"]) / 3600
    return f"{hours / 24:.0f} days ago" if hours >= 48 else f"{max(hours, 0):.1f} hours ago"


def where(settings: Settings) -> tuple[str, int]:
    """The address and port on which a program of this machine reaches the API."""
    host = "127.0.0.1" if settings.api_host in ("0.0.0.0", "::", "") else settings.api_host
    return host, settings.api_port


def settings_table(loaded: Loaded) -> dict[str, dict[str, str]]:
    """Every setting in force, its value and where that came from; secrets are not in it."""
    table = {}
    for name in NAMES:
        value = getattr(loaded.settings, name.lower())
        shown = "" if value is None else str(value)
        if name in SECRETS and value is not None:
            shown = "(set, not shown)"
        table[name] = {"value": shown, "from": loaded.origins[name]}
    return table


def print_settings(loaded: Loaded, as_json: bool) -> None:
    """Print the settings in force, as a table or as JSON."""
    table = settings_table(loaded)
    if as_json:
        print(json.dumps(table, indent=2))
        return
    width = max(len(row["value"]) for row in table.values())
    for name, row in table.items():
        print(f"{name:<23} {row['value']:<{width}}  {row['from']}")
