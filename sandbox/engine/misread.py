"""Requests that vLLM stumbles over while it reads them: the client's mistake, not the server's."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

from starlette.middleware.exceptions import ExceptionMiddleware

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

# vLLM answers 400 to ValueError and TypeError, and 500 to these, which the same code raises for
# parts of a message that it does not know.
_STUMBLES = (AttributeError, LookupError)
# Where requests become prompts; what stumbles elsewhere is a fault of vLLM or of ours.
_READING = "/vllm/entrypoints/"


def install(app: FastAPI) -> None:
    """Have vLLM's ``app`` answer 400 to what it cannot read."""
    own = app.exception_handlers[Exception]

    async def answer(request: Request, error: Exception) -> Response:
        if not stumbled_while_reading(error):
            return await own(request, error)  # type: ignore[no-any-return, misc]
        log.warning("A request to %s was not understood", request.url.path, exc_info=error)
        mistake = ValueError(f"This request has a part that vLLM cannot read: {error}.")
        return await own(request, mistake)  # type: ignore[no-any-return, misc]

    # vLLM has built the app's middleware already: what is given to the app comes too late.
    layer: Any = app.middleware_stack
    while layer is not None and not isinstance(layer, ExceptionMiddleware):
        # Middleware of VLLM_EXTRA_ARGS may hide what is inside of it.
        layer = getattr(layer, "app", None)
    if layer is None:
        return
    for kind in _STUMBLES:
        layer.add_exception_handler(kind, answer)


def stumbled_while_reading(error: Exception) -> bool:
    """True when vLLM's code for reading requests, or a library that it called, raised ``error``."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    # The last that is vLLM's or ours; pydantic's are below it, for example.
    last = next((file for file in reversed(files) if "/vllm/" in file or "/sandbox/" in file), "")
    return _READING in last
