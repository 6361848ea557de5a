"""A program for Open WebUI's environment: serves it, as its own `serve`, on an open socket.

``python -I serve.py LISTENER HOLD WAITING``, with the environment that Open WebUI is started with:
the listening socket and the pipe that keeps the waiting page (both fds), and that page's PID.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_foreign(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """True when a browser sent the request for a page of another site (or of none it would name).

    Browsers send ``Origin`` with all that writes, with all that scripts of another site may read,
    and with websockets; no script can change it.
    """
    found = dict(headers)
    if b"origin" not in found:
        return False
    site = found[b"origin"].partition(b"://")[2].lower()
    return not site or site != found.get(b"host", b"").lower()


def own_pages_only(app: App) -> App:
    """``app``, for its own pages and for programs, not for other sites in a visitor's browser.

    Open WebUI answers any site (CORS). Where there is no login that site would be in.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not is_foreign(scope["headers"]):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            message = "The chat page does not answer other sites. A proxy must pass on Host."
            body = json.dumps({"detail": message}).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return checked


def main(listener: int, hold: int, waiting: int) -> None:
    """Serve until a signal; the waiting page ends once Open WebUI takes connections itself."""
    for inherited in (listener, hold):
        os.set_inheritable(inherited, False)
    # What `ps`, `top` and the message about a port in use call this process.
    Path("/proc/self/comm").write_text("open-webui")
    # From here on as open_webui.serve() of 0.12.4 does it with WEBUI_SECRET_KEY set.
    os.environ["FROM_INIT_PY"] = "true"
    import uvicorn
    from open_webui.env import UVICORN_WS_PER_MESSAGE_DEFLATE  # type: ignore[import-not-found]
    from open_webui.main import app  # type: ignore[import-not-found]
    from uvicorn.config import STARTUP_FAILURE

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            os.close(hold)
            # It may still finish an answer; nobody else collects its exit status.
            threading.Thread(target=os.waitpid, args=(waiting, 0), daemon=True).start()

    server = Server(
        uvicorn.Config(
            own_pages_only(app) if os.environ["WEBUI_AUTH"] == "False" else app,
            forwarded_allow_ips=os.environ["FORWARDED_ALLOW_IPS"],
            ws_per_message_deflate=UVICORN_WS_PER_MESSAGE_DEFLATE,
        )
    )
    # Ctrl-C is an orderly end.
    with contextlib.suppress(KeyboardInterrupt):
        # Not uvicorn's `fd`: it takes every socket for a Unix one.
        server.run(sockets=[socket.socket(fileno=listener)])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
