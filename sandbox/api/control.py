"""Our own routes: the page, the status as JSON and events, alive, well, and the metrics."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from sandbox import __version__
from sandbox.api import assets
from sandbox.api.access import KeyCheck
from sandbox.api.errors import error_response
from sandbox.api.history import History
from sandbox.engine.lifecycle import Lifecycle, State
from sandbox.paths import Paths
from sandbox.ui import backups

PATHS = frozenset(
    {"/", "/status", "/status/events", "/status/history", "/livez", "/health", "/metrics"}
    | assets.FILES.keys()
)

_KEEP_ALIVE_SECONDS = 15.0


def create(
    lifecycle: Lifecycle,
    keys: KeyCheck,
    history: History,
    *,
    ui_port: int,
    running: Callable[[], int],
    routes: Callable[[], list[str]],
) -> FastAPI:
    """The app with our own routes; ``running`` counts vLLM's requests, ``routes`` lists its."""
    backups_dir = Paths.here().backups_dir
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    def everything() -> dict[str, Any]:
        return lifecycle.status.as_json() | {
            # For a page on a machine whose clock differs.
            "now": round(time.time(), 3),
            "version": __version__,
            "pid": os.getpid(),
            "requests_running": running(),
            "routes": routes(),
            "key_needed": keys.needed,
            "ui_port": ui_port,
            "backup": backups.last(backups_dir),
        }

    app.add_route("/", assets.page, methods=["GET", "HEAD"])
    for path in assets.FILES:
        app.add_route(path, assets.asset, methods=["GET", "HEAD"])

    @app.api_route("/status", methods=["GET", "HEAD"])
    async def status() -> JSONResponse:
        return JSONResponse(everything())

    @app.get("/status/events")
    async def events() -> StreamingResponse:
        async def stream() -> AsyncIterator[bytes]:
            changes = lifecycle.watch()
            change: asyncio.Task[Any] | None = None
            try:
                while True:
                    change = change or asyncio.ensure_future(anext(changes, None))
                    done, _ = await asyncio.wait({change}, timeout=_KEEP_ALIVE_SECONDS)
                    if not done:
                        yield b": still here\n\n"
                        continue
                    if change.result() is None:
                        return
                    change = None
                    yield b"data: " + json.dumps(everything()).encode() + b"\n\n"
            finally:
                if change:
                    change.cancel()

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )

    # Without a key as /status: load and temperature, never what is asked or by whom.
    @app.api_route("/status/history", methods=["GET", "HEAD"])
    async def numbers(since: float = 0.0) -> JSONResponse:
        return JSONResponse(history.as_json(since))

    @app.api_route("/livez", methods=["GET", "HEAD"])
    async def livez() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> JSONResponse:
        now = lifecycle.status
        ready = now.state is State.READY and not now.stalled
        return JSONResponse(
            {"status": str(now.state), "message": now.message}, 200 if ready else 503
        )

    @app.api_route("/metrics", methods=["GET", "HEAD"])
    async def metrics(request: Request) -> Response:
        if not keys.allows(request.scope):
            return error_response("/metrics", 401, "The metrics need a key.")
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(HTTPException)
    async def refusal(request: Request, error: HTTPException) -> Response:
        path, method = request.url.path, request.method
        return error_response(path, error.status_code, f"{path} does not take {method}.")

    @app.exception_handler(RequestValidationError)
    async def mistake(request: Request, error: RequestValidationError) -> Response:
        wrong = error.errors()[0]
        return error_response(
            request.url.path, 400, f"{wrong['loc'][-1]} is {wrong['input']!r}: {wrong['msg']}."
        )

    return app
