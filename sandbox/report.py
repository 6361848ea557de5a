"""What `ai-sandbox status` and `ai-sandbox settings` print."""

from __future__ import annotations

import http.client
import json
from typing import Any

from sandbox.errors import ExitCode
from sandbox.settings import NAMES, SECRETS, Loaded, Settings


def print_status(settings: Settings, as_json: bool) -> int:
    """Ask the running API what it does; exit 0 when a model answers, else 1."""
    host = "127.0.0.1" if settings.api_host in ("0.0.0.0", "::", "") else settings.api_host
    where = f"{host}:{settings.api_port}"
    try:
        connection = http.client.HTTPConnection(host, settings.api_port, timeout=5)
        connection.request("GET", "/status")
        status: dict[str, Any] = json.load(connection.getresponse())
        if "phases" not in status:
            raise ValueError("another program")
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        print(f"No AI Sandbox answers on {where}: it is not running, or on another port.")
        print("Start it with `make run` in a clone, or set API_PORT to the port it has.")
        return ExitCode.FAILURE
    ready = status.get("state") == "ready"
    code = ExitCode.OK if ready else ExitCode.FAILURE
    if as_json:
        print(json.dumps(status, indent=2))
        return code
    rows = [("state", status["state"]), ("", status["message"]), ("", status["hint"])]
    rows += [("model", status["model"])]
    rows += [(name.replace("_", " "), value) for name, value in status["details"].items()]
    passed = [f"{p['state']} {p['seconds']:.1f} s" for p in status["phases"] if p["seconds"]]
    rows += [("start", ", ".join(passed)), ("restarts", status["restarts"] or "")]
    rows += [("API", f"http://{where}/v1")]
    for name, value in rows:
        if value not in ("", None):
            print(f"{name:<21} {value}")
    return code


def print_settings(loaded: Loaded, as_json: bool) -> None:
    """Every setting in force and where its value came from; secrets are not shown."""
    table = {}
    for name in NAMES:
        value = getattr(loaded.settings, name.lower())
        shown = "" if value is None else str(value)
        if name in SECRETS and value is not None:
            shown = "(set, not shown)"
        table[name] = {"value": shown, "from": loaded.origins[name]}
    if as_json:
        print(json.dumps(table, indent=2))
        return
    width = max(len(row["value"]) for row in table.values())
    for name, row in table.items():
        print(f"{name:<23} {row['value']:<{width}}  {row['from']}")
