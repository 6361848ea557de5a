"""The outermost ASGI app: our own routes always, vLLM's while a model answers, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.api import control, routes
from sandbox.api.access import KeyCheck
from sandbox.api.admission import Admission, NotAdmittedError
from sandbox.api.errors import error_response
from sandbox.engine.engine import Engine
from sandbox.engine.lifecycle import Lifecycle, State, Status
from sandbox.engine.supervisor import Supervisor

# Seconds after which a client may try again, where the state itself cannot tell.
_RETRY_AFTER = {State.FAILED: 60, State.DRAINING: 10}
# So long a request waits while one model takes the place of another; loading may take longer.
_PATIENCE_SECONDS = 30.0


class Gateway:
    """Dispatches each request; counts those that vLLM is working on."""

    def __init__(
        self, supervisor: Supervisor, lifecycle: Lifecycle, keys: KeyCheck, admission: Admission
    ) -> None:
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._keys = keys
        self._admission = admission
        self.running = 0
        # Our own routes; set right after, because they show ``running``.
        self.own: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # The only other type that uvicorn sends here is websocket, which nothing speaks.
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        if scope["path"] in control.PATHS:
            await self.own(scope, receive, send)
            return
        app = await self._settle(scope)
        if isinstance(app, Response):
            await app(scope, receive, send)
        elif scope["method"] != "POST" or scope["path"].endswith("/cancel"):
            await self._run(app, scope, receive, send)
        else:
            with contextlib.suppress(NotAdmittedError):
                async with self._admission.place(scope, receive, send) as (receive, send):
                    # What was right may be over: the body took its time, or the turn.
                    await self._run(await self._settle(scope), scope, receive, send)

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        try:
            await app(scope, receive, send)
        finally:
            self.running -= 1

    async def _settle(self, scope: Scope) -> ASGIApp | Response:
        """What answers, waited for while one model takes the place of another."""
        app = self._choose(scope)
        if app is None:
            await self._wait_for_switch()
            app = self._choose(scope) or self._explain(scope["path"])
        return app

    @property
    def served(self) -> list[str]:
        """The routes of vLLM that answer now, as it writes them; none while no model does."""
        engine = self._answering()
        return [path for path in routes.PATHS if path in engine.paths] if engine else []

    def _answering(self) -> Engine | None:
        engine = self._supervisor.engine
        ready = self._lifecycle.status.state is State.READY
        return engine if ready and engine and engine.app and not engine.dead else None

    async def _wait_for_switch(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                async for status in self._lifecycle.watch():
                    if not status.switching:
                        return

    def _choose(self, scope: Scope) -> ASGIApp | Response | None:
        """vLLM's app, or the answer that says why not; None: that will soon be known."""
        path = scope["path"]
        # A browser asks with OPTIONS first whether it may send the key.
        if not self._keys.allows(scope) and scope["method"] != "OPTIONS":
            return error_response(
                path,
                401,
                "This API needs a key: send it as 'Authorization: Bearer KEY'.",
                code="invalid_api_key",
            )
        route = routes.find(path)
        if route is None:
            return error_response(path, 404, f"There is no {path} here; GET / lists what there is.")
        if scope["method"] not in (route.method, "OPTIONS"):
            return error_response(path, 405, f"{path} takes {route.method}, not {scope['method']}.")
        engine = self._answering()
        if engine is None or engine.app is None:
            if self._lifecycle.status.switching and path != "/v1/models":
                return None
            return self._explain(path)
        if route.path not in engine.paths:
            model = self._lifecycle.status.model
            return error_response(
                path, 404, f"{model} does not serve {path}: it is another kind of model."
            )
        self._admission.set_places(engine.most_at_once)
        return engine.app

    def _explain(self, path: str) -> Response:
        status = self._lifecycle.status
        stopping = status.state is State.DRAINING and not status.switching
        if path == "/v1/models" and not stopping:
            return self._configured_model()
        message = f"{status.message} {status.hint}".strip()
        return error_response(path, 503, message, retry_after=retry_after(status))

    def _configured_model(self) -> Response:
        status = self._lifecycle.status
        return JSONResponse(
            {
                "object": "list",
                "data": [
                    {
                        "id": status.model,
                        "object": "model",
                        "created": int(status.since),
                        "owned_by": "ai-sandbox",
                    }
                ],
            }
        )


def retry_after(status: Status, now: float | None = None) -> int:
    """Seconds after which trying again makes sense: 1 to 60."""
    if status.progress and status.progress.seconds_left is not None:
        return max(1, min(60, math.ceil(status.progress.seconds_left)))
    if status.state in _RETRY_AFTER:
        return _RETRY_AFTER[status.state]
    waited = (now or time.time()) - status.since
    return 2 if waited < 30 else 10
