"""What a request may be: its body's size, the time it may take to come, and what costs too much.

What vLLM bounds itself (n, stop strings, log probabilities, the time for templates and patterns)
is bounded there; see ``launcher``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope

# Seconds for the whole body, and for a body of the largest size at 1 Mbit/s or more.
BODY_SECONDS = 60.0
# The text of one schema, grammar, pattern or list of choices: it is compiled before an answer.
MAX_GRAMMAR_BYTES = 64 * 1024
# Where a request has such a text, by the names of OpenAI, Anthropic and vLLM.
GRAMMARS = (
    *("response_format", "structured_outputs", "guided_json", "guided_regex"),
    *("guided_choice", "guided_grammar", "tools", "text", "output_format"),
)


class Refused(Exception):
    """A request that is not to be answered; ``message`` says why, ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def whole_body(
    scope: Scope,
    receive: Receive,
    most: int,
    hold: Callable[[int], None] = lambda size: None,
    seconds: float = BODY_SECONDS,
) -> bytes | None:
    """The body of the request, of at most ``most`` bytes; None when the client has gone.

    ``hold`` is told of each part's size. Raises ``Refused`` when the body is larger, or not there
    within ``seconds``.
    """
    length = dict(scope["headers"]).get(b"content-length", b"")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                hold(len(parts[-1]))
                if size > most:
                    raise _too_large(most)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refused(408, f"The request's body did not come within {seconds:.0f} s.") from None


def check_cost(body: bytes) -> None:
    """Raise ``Refused`` for a request that would have too much compiled before it is answered.

    Whether it is right otherwise is vLLM's to say.
    """
    # A short body has no long text in it.
    if len(body) <= MAX_GRAMMAR_BYTES or not body.lstrip().startswith(b"{"):
        return
    try:
        request: dict[str, Any] = json.loads(body)
    except RecursionError:
        raise Refused(400, "The request is nested too deeply.") from None
    except ValueError:
        return
    for name in GRAMMARS:
        if name in request and _size(request[name]) > MAX_GRAMMAR_BYTES:
            raise Refused(
                400, f"{name} is longer than {MAX_GRAMMAR_BYTES // 1024} KiB, which is the most."
            )


def _size(value: Any) -> int:
    return len(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _too_large(most: int) -> Refused:
    return Refused(413, f"The request's body is larger than {most // 2**20} MB (MAX_BODY_MB).")
