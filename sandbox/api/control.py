"""Our own routes: the page, the status as JSON and events, alive, well, and the metrics."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from sandbox import __version__
from sandbox.api.access import KeyCheck
from sandbox.api.errors import error_response
from sandbox.engine.lifecycle import Lifecycle, State

PATHS = frozenset({"/", "/status", "/status/events", "/livez", "/health", "/metrics"})

_KEEP_ALIVE_SECONDS = 15.0


def create(
    lifecycle: Lifecycle,
    keys: KeyCheck,
    *,
    ui_port: int,
    key_needed: bool,
    running: Callable[[], int],
) -> FastAPI:
    """The app with our own routes; ``running`` counts the requests that vLLM works on."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    def everything() -> dict[str, Any]:
        return lifecycle.status.as_json() | {
            # For a page on a machine whose clock differs.
            "now": round(time.time(), 3),
            "version": __version__,
            "pid": os.getpid(),
            "requests_running": running(),
            "key_needed": key_needed,
            "ui_port": ui_port,
        }

    @app.api_route("/", methods=["GET", "HEAD"])
    async def page() -> HTMLResponse:
        return HTMLResponse(_page())

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

    @app.api_route("/livez", methods=["GET", "HEAD"])
    async def livez() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> JSONResponse:
        now = lifecycle.status
        ready = now.state is State.READY
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

    return app


@cache
def _page() -> str:
    return (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
