"""Bodies that are too large, too slow or too dear, and requests that wait for their turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from sandbox.api import limits
from sandbox.api.access import KeyCheck
from sandbox.api.admission import Admission, NotAdmittedError, client_address
from sandbox.settings import Settings

MB = 2**20


def scope(**headers: str) -> Scope:
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"type": "http", "path": "/v1/completions", "headers": pairs}


def arriving(parts: Sequence[bytes], end: str = "http.request") -> Receive:
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": i < len(parts) - 1}
        for i, part in enumerate(parts)
    ]
    if end != "http.request":
        for message in messages:
            message["more_body"] = True
        messages.append({"type": end})
    coming = iter(messages)

    async def receive() -> Message:
        try:
            return next(coming)
        except StopIteration:
            await asyncio.sleep(3600)
            raise AssertionError from None

    return receive


def read(receive: Receive, most: int = MB, **headers: str) -> bytes | None:
    return asyncio.run(limits.whole_body(scope(**headers), receive, most))


def test_a_body_in_pieces_is_put_together() -> None:
    assert read(arriving([b"a", b"", b"bc"])) == b"abc"


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    with pytest.raises(limits.Refused) as refused:
        read(arriving([]), content_length=str(MB + 1))
    assert refused.value.status == 413
    assert "MAX_BODY_MB" in refused.value.message


def test_a_body_that_does_not_say_so_is_cut_off() -> None:
    with pytest.raises(limits.Refused) as refused:
        read(arriving([b"x" * MB] * 100))
    assert refused.value.status == 413


def test_a_body_that_stops_coming_is_given_up() -> None:
    with pytest.raises(limits.Refused) as refused:
        asyncio.run(limits.whole_body(scope(), arriving([]), MB, seconds=0.01))
    assert refused.value.status == 408


def test_a_client_that_goes_meanwhile_is_no_error() -> None:
    assert read(arriving([b"a"], end="http.disconnect")) is None


LONG = "x" * (limits.MAX_GRAMMAR_BYTES + 1)


@pytest.mark.parametrize(
    "request_",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": LONG}}}},
        {"structured_outputs": {"regex": LONG}},
        {"structured_outputs": {"choice": [LONG]}},
        {"tools": [{"function": {"parameters": {"const": LONG}}}]},
    ],
)
def test_a_long_grammar_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(limits.Refused) as refused:
        limits.check_cost(json.dumps(request_).encode())
    assert refused.value.status == 400
    assert next(iter(request_)) in refused.value.message


@pytest.mark.parametrize(
    "body", [b"", b"no json " + LONG.encode(), json.dumps({"prompt": LONG}).encode()]
)
def test_anything_else_is_left_to_vllm(body: bytes) -> None:
    limits.check_cost(body)


def test_deep_json_is_refused() -> None:
    body = b'{"a":' + b"[" * 200_000
    with pytest.raises(limits.Refused) as refused:
        limits.check_cost(body)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::1", "::1"),
    ],
)
def test_an_ipv6_client_is_its_network(host: str, client: str) -> None:
    assert client_address({"type": "http", "client": (host, 1)}) == client


def admission(**settings: Any) -> Admission:
    return Admission(Settings(**settings), KeyCheck(()))


async def _answered(admission: Admission, host: str, body: bytes = b"{}") -> int:
    """The status that an app behind ``admission`` answers with; 0 for none."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with admission.place(scope, receive, send) as (admitted, _):
                assert (await admitted())["body"] == body
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})
        except NotAdmittedError:
            pass

    transport = httpx.ASGITransport(app, client=(host, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as client:
        return (await client.post("/v1/completions", content=body)).status_code


def test_requests_of_one_client_get_their_turn() -> None:
    async def check() -> list[int]:
        one_by_one = admission(MAX_REQUESTS_PER_CLIENT="1")
        return await asyncio.gather(*[_answered(one_by_one, "192.0.2.7") for _ in range(20)])

    assert asyncio.run(check()) == [200] * 20


def test_a_large_body_is_answered_with_413() -> None:
    body = b"x" * (MB + 1)
    assert asyncio.run(_answered(admission(MAX_BODY_MB="1"), "192.0.2.7", body)) == 413


def test_bodies_that_wait_take_no_more_memory_than_may_be() -> None:
    async def check() -> None:
        narrow = admission(MAX_BODY_MB="1", MAX_QUEUED_MB="2", MAX_REQUESTS_PER_CLIENT="1")
        asked = {**scope(), "client": ("192.0.2.7", 1)}
        large = b"x" * MB
        answered: list[Message] = []

        async def send(message: Message) -> None:
            answered.append(message)

        async with narrow.place(asked, arriving([b"{}"]), send):
            waiting = asyncio.ensure_future(_stay(narrow, asked, large))
            while not narrow.waiting:
                await asyncio.sleep(0)
            with pytest.raises(NotAdmittedError):
                async with narrow.place(asked, arriving([large]), send):
                    raise AssertionError
            headers = dict(answered[0]["headers"])
            assert (answered[0]["status"], headers[b"retry-after"]) == (503, b"5")
            # There is room for somebody else's.
            assert await _answered(narrow, "192.0.2.8", b"x" * 1000) == 200
        assert await waiting
        # And again for the first one's.
        assert await _answered(narrow, "192.0.2.7", large) == 200

    asyncio.run(check())


async def _stay(admission: Admission, asked: Scope, body: bytes) -> bool:
    """A client that waits for its turn."""

    async def send(message: Message) -> None:
        raise AssertionError

    async with admission.place(asked, arriving([body]), send):
        return True


def test_who_waits_may_go_and_who_comes_too_late_is_told_when() -> None:
    async def check() -> None:
        narrow = admission(MAX_REQUESTS_PER_CLIENT="1", MAX_QUEUED_REQUESTS="2")
        asked = {**scope(), "client": ("192.0.2.7", 1)}
        answered: list[Message] = []

        async def send(message: Message) -> None:
            answered.append(message)

        async with narrow.place(asked, arriving([b"{}"]), send):
            queued = asyncio.ensure_future(_enter(narrow, asked, send, hang_up := asyncio.Event()))
            await asyncio.sleep(0)
            while not narrow.waiting:
                await asyncio.sleep(0)
            with pytest.raises(NotAdmittedError):
                async with narrow.place(asked, arriving([b"{}"]), send):
                    raise AssertionError
            headers = dict(answered[0]["headers"])
            assert (answered[0]["status"], headers[b"retry-after"]) == (503, b"5")
            hang_up.set()
            with pytest.raises(NotAdmittedError):
                await queued
            assert narrow.waiting == 0
        # The place is free again.
        async with narrow.place(asked, arriving([b"{}"]), send):
            pass

    asyncio.run(check())


async def _enter(admission: Admission, asked: Scope, send: Send, hang_up: asyncio.Event) -> None:
    """A client that sends its request, waits, and goes."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": b"{}", "more_body": False}
        await hang_up.wait()
        return {"type": "http.disconnect"}

    async with admission.place(asked, receive, send):
        raise AssertionError("it has no turn")
