"""Requests that are meant to harm, as the body of a chat each.

They deserve a 4xx, or, where they turn out to be harmless, an answer.
"""

from __future__ import annotations

import json
from typing import Any

from tests.process.api_service import GUIDE


def _chat(content: object = "hi", **more: Any) -> bytes:
    body = {"model": GUIDE, "messages": [{"role": "user", "content": content}], **more}
    return json.dumps(body).encode()


def _schema(schema: object) -> bytes:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return _chat(response_format=wanted, max_tokens=8)


BODIES: dict[str, bytes] = {
    "a prompt of 10 MB": _chat("word " * 2_000_000),
    "deep JSON": b"[" * 200_000,
    "deep JSON in a field": b'{"model": "x", "messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "a huge n": _chat(n=1_000_000),
    "huge logprobs": _chat(logprobs=True, top_logprobs=1_000_000),
    "a catastrophic regex": _chat(
        structured_outputs={"regex": "((((a{0,99}){0,99}){0,99}){0,99}){0,99}"}, max_tokens=8
    ),
    "bytes that are no UTF-8": _chat("BAD").replace(b"BAD", b"\xff\xfe\x00"),
    "half a surrogate pair": _chat("\ud800"),
    "a schema that is itself": _schema({"$ref": "#"}),
    "a schema without an end": _schema(
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    ),
    "a schema of 20,000 levels": _schema("DEEP").replace(
        b'"DEEP"', b'{"properties":{"a":' * 20_000 + b"{}" + b"}}" * 20_000
    ),
    "numbers beyond all bounds": _chat(max_tokens=10**30, temperature=10**30, seed=10**40),
    "a template of its own": _chat(chat_template="{% for i in range(10**9) %}x{% endfor %}"),
}
