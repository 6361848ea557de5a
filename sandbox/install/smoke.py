"""The proof at an installation's end: the model is asked through both ports, as people would."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from sandbox.errors import SandboxError
from sandbox.host import systemctl
from sandbox.install import units
from sandbox.settings import Settings
from sandbox.ui import credentials
from sandbox.ui.provision import VISITOR

QUESTION = "Say hello in one short sentence."
# A download moves on, however slow; without any news the wait has an end.
SILENCE_S = 1800.0
PAGE_S = 180.0
DEATHS_ALLOWED = 3

Say = Callable[[str], None]
Answer = tuple[int, dict[str, Any]]


class NotReadyError(SandboxError):
    """The services are up, and the model is not: the API's page says why."""


def local(host: str) -> str:
    """Where a service that listens on ``host`` is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def wait_for_model(settings: Settings, say: Say) -> None:
    """Return when the model answers; ``NotReadyError`` when it will not by itself.

    Raises ``SandboxError`` when the service itself does not keep running.
    """
    said, silent_since = "", time.monotonic()
    restarts = _restarts(units.API)
    while True:
        _check_service(units.API, restarts)
        now = status(settings)
        if now.get("state") == "ready":
            return
        message = str(now.get("message", "the port does not answer yet"))
        if now.get("state") == "failed":
            raise NotReadyError(message, str(now.get("hint", "")))
        if message != said:
            said, silent_since = message, time.monotonic()
            say(message)
        if time.monotonic() - silent_since > SILENCE_S:
            raise NotReadyError(
                f"No news for {SILENCE_S / 60:.0f} minutes: {message}",
                f"See: journalctl -u {units.API}",
            )
        time.sleep(0.5)


def wait_for_page(settings: Settings) -> None:
    """Return when Open WebUI itself answers. Raises ``SandboxError``."""
    deadline = time.monotonic() + PAGE_S
    restarts = _restarts(units.UI)
    while time.monotonic() < deadline:
        _check_service(units.UI, restarts)
        try:
            code, _ = _get(f"{_page(settings)}/health")
        except OSError:
            code = 0
        if code == 200:
            return
        time.sleep(0.5)
    raise SandboxError(
        f"The chat page did not answer within {PAGE_S:.0f} s.", f"See: journalctl -u {units.UI}"
    )


def ask_api(settings: Settings) -> str:
    """The model's answer through the API. Raises ``SandboxError``."""
    own = credentials.peek(settings.ui_data_dir, credentials.API_KEY_FILE) or ""
    key = settings.api_keys[0] if settings.api_keys else own
    url = f"http://{local(settings.api_host)}:{settings.api_port}/v1/chat/completions"
    return _text(_post(url, _question(settings), key), "The API")


def ask_page(settings: Settings) -> str:
    """The model's answer through the chat page, after signing in. Raises ``SandboxError``."""
    page = _page(settings)
    who = {"email": "", "password": ""}
    if settings.access == "protected":
        password = credentials.peek(settings.ui_data_dir, credentials.ADMIN_PASSWORD_FILE)
        if password is None:
            file = settings.ui_data_dir / credentials.ADMIN_PASSWORD_FILE
            return f"(not asked: the administrator's first password cannot be read in {file})"
        who = {"email": credentials.ADMIN_EMAIL, "password": password}
    code, session = _post(f"{page}/api/v1/auths/signin", who, "")
    if code in (400, 401, 403) and settings.access == "protected":
        # The administrator has changed the password, as he should.
        return "(not asked: the administrator's password is not the first one any more)"
    if code != 200:
        who_text = VISITOR if settings.access == "open" else credentials.ADMIN_EMAIL
        raise SandboxError(f"The chat page does not let {who_text} in: {_short(session)}")
    token = str(session["token"])
    return _text(_post(f"{page}/api/chat/completions", _question(settings), token), "The chat page")


def _question(settings: Settings) -> dict[str, Any]:
    return {
        "model": settings.served_name,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 32,
        "stream": False,
    }


def _page(settings: Settings) -> str:
    return f"http://{local(settings.ui_host)}:{settings.ui_port}"


def status(settings: Settings) -> dict[str, Any]:
    """What the API says of itself; empty while it does not answer."""
    try:
        return _get(f"http://{local(settings.api_host)}:{settings.api_port}/status")[1]
    except OSError:
        return {}


def _restarts(unit: str) -> int:
    return int(systemctl.show(unit, "NRestarts").get("NRestarts") or 0)


def _check_service(unit: str, restarts_before: int) -> None:
    shown = systemctl.show(unit, "ActiveState", "ExecMainStatus")
    restarts = _restarts(unit) - restarts_before
    if shown.get("ActiveState") == "failed" or restarts >= DEATHS_ALLOWED:
        raise SandboxError(
            f"{unit} does not keep running (last exit status {shown.get('ExecMainStatus')}, "
            f"{restarts} restarts).",
            f"See: journalctl -u {unit}. Its newest lines:\n{systemctl.journal(unit)}",
        )


def _text(answer: Answer, who: str) -> str:
    code, body = answer
    try:
        message = body["choices"][0]["message"]
        return str(message.get("content") or message.get("reasoning") or "").strip()
    except (LookupError, TypeError, AttributeError):
        raise SandboxError(f"{who} answered {code}: {_short(body)}") from None


def _short(body: Any) -> str:
    return json.dumps(body)[:300]


def _post(url: str, body: dict[str, Any], token: str) -> Answer:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return _send(urllib.request.Request(url, json.dumps(body).encode(), headers), 300)


def _get(url: str) -> Answer:
    return _send(urllib.request.Request(url), 10)


def _send(request: urllib.request.Request, timeout_s: float) -> Answer:
    # A proxy that this machine has is not for its own ports.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return response.status, _json(response.read())
    except urllib.error.HTTPError as error:
        return error.code, _json(error.read())
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from None


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {"text": body[:300].decode(errors="replace")}
    return found if isinstance(found, dict) else {"value": found}
