"""Which of vLLM's routes are reachable; what a later vLLM adds stays closed until listed here."""

from __future__ import annotations

import re
from typing import NamedTuple

# One path a line as vLLM writes it, with its method. Left out on purpose: engine control
# (/scale_elastic_ep,
# /inference, ...), /invocations and /ping (SageMaker's names for the same), /load, and the
# interactive docs, which load scripts from elsewhere.
_ROUTES = {
    "/openapi.json": "GET",
    "/version": "GET",
    "/tokenize": "POST",
    "/detokenize": "POST",
    "/pooling": "POST",
    "/classify": "POST",
    "/score": "POST",
    "/rerank": "POST",
    "/v1/models": "GET",
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/responses": "POST",
    "/v1/responses/{response_id}": "GET",
    "/v1/responses/{response_id}/cancel": "POST",
    "/v1/messages": "POST",
    "/v1/messages/count_tokens": "POST",
    "/v1/embeddings": "POST",
    "/v1/score": "POST",
    "/v1/rerank": "POST",
    "/v2/rerank": "POST",
    "/v2/embed": "POST",
    "/v1/audio/transcriptions": "POST",
    "/v1/audio/translations": "POST",
}


PATHS = tuple(_ROUTES)


class Route(NamedTuple):
    """A reachable route: its path as vLLM writes it, and the method that it takes."""

    path: str
    method: str


_PATTERNS = [
    (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), Route(path, method))
    for path, method in _ROUTES.items()
]


def find(path: str) -> Route | None:
    """The route that ``path`` belongs to, or None when it is not reachable."""
    for pattern, route in _PATTERNS:
        if pattern.fullmatch(path):
            return route
    return None
