"""Grammars that nothing fulfils: a mistake of the request, which vLLM takes for one of its own.

vLLM compiles schemas, patterns and tools after it has accepted a request. Where that fails it
answers 500, "Internal server error", and says no more.
"""

from __future__ import annotations

from starlette.types import Message, Scope, Send

from sandbox.api.errors import error_response

# A request that has none of these asks for no grammar. A quote in a text is escaped: a question
# about them has them in another form.
_ASKS = (
    *(b'"json_schema"', b'"json_object"', b'"structural_tag"', b'"structured_outputs"'),
    *(b'"tools"', b'"output_format"'),
)
# vLLM's words for an answer that the engine ended with an error.
_FAILED = b'"Internal server error"'


def explained(scope: Scope, body: bytes, send: Send) -> Send:
    """``send`` for the answer to ``body``, which tells of such a grammar with 400."""
    if not any(word in body for word in _ASKS):
        return send
    start: Message | None = None
    is_explained = False

    async def checked(message: Message) -> None:
        nonlocal start, is_explained
        if is_explained:
            return
        if message["type"] == "http.response.start" and message["status"] == 500:
            start = message
            return
        if start and _FAILED in message.get("body", b""):
            is_explained = True
            answer = error_response(
                scope["path"],
                400,
                "No answer can be made that keeps to the schema, grammar or tools of this request: "
                "nothing fulfils them, or they cannot be compiled.",
            )
            await send({**start, "status": 400, "headers": answer.raw_headers})
            await send({"type": "http.response.body", "body": answer.body})
            return
        if start:
            await send(start)
            start = None
        await send(message)

    return checked
