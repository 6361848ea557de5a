"""The short way of a request to vLLM's function for it, past what FastAPI does around that.

For each request FastAPI looks through some fifty routes, twice, and solves the dependencies of the
one that it finds. Here it is one route, before all others. Whatever is not a valid request in JSON
goes the long way still, so that every answer, an error too, is vLLM's.
"""

from __future__ import annotations

import json
from collections.abc import Container
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.asgi import replayed

# Longer bodies cost more than what is saved, and would be read twice when they are not valid.
MAX_BYTES = 64 * 1024
# In the scope of a request that goes the long way.
_LONG = "ai_sandbox.long_way"


def install(vllm_api: ModuleType, app: Any, paths: Container[str]) -> None:
    """Put short ways before the routes of ``app``, vLLM's, for those that are among ``paths``."""
    ways = {
        "/v1/chat/completions": (vllm_api.create_chat_completion, vllm_api.ChatCompletionRequest),
        "/v1/completions": (vllm_api.create_completion, vllm_api.CompletionRequest),
    }
    for path, (function, kind) in ways.items():
        if path in paths:
            app.router.routes.insert(0, _Way(path, _Answer(app.router, function, kind)))


class _Way(Route):
    """The route of a short way, which is not there for what goes the long one."""

    def __init__(self, path: str, answer: ASGIApp) -> None:
        super().__init__(path, answer, methods=["POST"], include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.NONE, {}) if _LONG in scope else super().matches(scope)


class _Answer:
    """Answers with ``function``, vLLM's for requests of ``kind``."""

    def __init__(self, long_way: ASGIApp, function: Any, kind: type[BaseModel]) -> None:
        self._long_way = long_way
        self._function = function
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        body = await request.body()
        asked = self._read(request, body)
        if asked is None:
            await self._long_way({**scope, _LONG: True}, replayed(body, receive), send)
            return
        response = await self._function(asked, raw_request=request)
        if response is None:
            # The client has gone; FastAPI makes this of it, which the metrics count.
            response = JSONResponse(None)
        await response(scope, receive, send)

    def _read(self, request: Request, body: bytes) -> BaseModel | None:
        """The request; None when it is another way's."""
        media_type = request.headers.get("content-type", "").lower()
        if media_type != "application/json" or len(body) > MAX_BYTES:
            return None
        try:
            return self._kind.model_validate(json.loads(body))
        except Exception:
            # Validators raise more than ValueError.
            return None
