"""vLLM's 500 for a grammar that nothing fulfils becomes the 400 that it is, and no other does."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import Message, Scope

from sandbox.api.grammars import explained

SCHEMA = b'{"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}'
FAILED = b'{"error":{"message":"Internal server error","type":"InternalServerError","code":500}}'


def answered(body: bytes, status: int, *parts: bytes, path: str = "/v1/completions") -> list[bytes]:
    """What a client gets for ``body``: the status, then the body, when vLLM sends ``parts``."""
    scope: Scope = {"type": "http", "path": path}
    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(message)

    async def app() -> None:
        checked = explained(scope, body, send)
        headers = [(b"content-length", str(sum(map(len, parts))).encode())]
        await checked({"type": "http.response.start", "status": status, "headers": headers})
        for i, part in enumerate(parts):
            more = i < len(parts) - 1
            await checked({"type": "http.response.body", "body": part, "more_body": more})

    asyncio.run(app())
    sent = b"".join(m["body"] for m in got[1:])
    assert int(dict(got[0]["headers"])[b"content-length"]) == len(sent)
    return [str(got[0]["status"]).encode(), sent]


@pytest.mark.parametrize("parts", [[FAILED], [FAILED, b""]], ids=["at once", "in two parts"])
def test_a_grammar_that_cannot_be_kept_to_is_400(parts: list[bytes]) -> None:
    status, body = answered(SCHEMA, 500, *parts)
    assert status == b"400"
    assert "schema" in json.loads(body)["error"]["message"]


def test_anthropics_clients_get_their_own_shape() -> None:
    body = answered(b'{"tools": []}', 500, FAILED, path="/v1/messages")[1]
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("asked", "status", "answer"),
    [
        (b'{"prompt": "the \\"json_schema\\" of this"}', 500, FAILED),
        (SCHEMA, 500, b'{"error":{"message":"EngineCore encountered an issue."}}'),
        (SCHEMA, 200, b'{"text": "\\"Internal server error\\""}'),
        (SCHEMA, 400, FAILED),
    ],
    ids=["no grammar", "another fault", "an answer", "a refusal"],
)
def test_all_else_is_passed_on_as_it_is(asked: bytes, status: int, answer: bytes) -> None:
    assert answered(asked, status, answer) == [str(status).encode(), answer]
