"""Errors over HTTP in the shape that the client's library reads: OpenAI's, or Anthropic's."""

from __future__ import annotations

from fastapi.responses import JSONResponse

_OPENAI_TYPES = {
    401: "invalid_request_error",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "timeout_error",
    413: "request_too_large",
    503: "service_unavailable",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    503: "overloaded_error",
}


def error_response(
    path: str, status: int, message: str, *, code: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """An error answer for a request to ``path``; ``retry_after`` is in seconds."""
    if path.startswith("/v1/messages"):
        body: dict[str, object] = {
            "type": "error",
            "error": {"type": _ANTHROPIC_TYPES.get(status, "api_error"), "message": message},
        }
    else:
        kind = _OPENAI_TYPES.get(status, "invalid_request_error")
        body = {"error": {"message": message, "type": kind, "param": None, "code": code or status}}
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers)
