"""The files of the status page, and the headers that keep it to itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import Request, Response
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parent / "page"
_SUFFIXES = {".js", ".css", ".svg"}

# Where each file is served, such as /assets/page.js. What is not listed is not reachable.
FILES = {
    f"/assets/{file.relative_to(_FOLDER)}": str(file.relative_to(_FOLDER))
    for file in sorted(_FOLDER.rglob("*"))
    if file.suffix in _SUFFIXES
}

_HEADERS = {
    # The page loads nothing from elsewhere, runs no script but its own, and stands in no frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked for again each time, and answered with 304 while unchanged: an update shows at once.
    "Cache-Control": "no-cache",
}


async def page(request: Request) -> Response:
    """The page itself."""
    return await _serve("index.html", request)


async def asset(request: Request) -> Response:
    """One of ``FILES``."""
    return await _serve(FILES[request.url.path], request)


async def _serve(name: str, request: Request) -> Response:
    answer = await _files().get_response(name, request.scope)
    answer.headers.update(_HEADERS)
    return answer


@cache
def _files() -> StaticFiles:
    return StaticFiles(directory=_FOLDER)
