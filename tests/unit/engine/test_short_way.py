"""Which requests go the short way past FastAPI; that both ways answer alike: tests/process."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.engine import short_way

with warnings.catch_warnings():
    # torch and vllm warn about themselves when they are imported.
    warnings.simplefilter("ignore")
    from sandbox.engine import vllm_api

PATH = "/v1/chat/completions"


class Asked(BaseModel):
    model: str


async def short(request: Asked, raw_request: Request) -> Response | None:
    return None if request.model == "gone" else JSONResponse({"way": "short"})


def answer(method: str = "POST", **request: Any) -> httpx.Response:
    """The answer of an app with both ways."""
    app = FastAPI()

    @app.post(PATH)
    async def long(request: Asked) -> dict[str, str]:
        return {"way": "long"}

    functions: Any = SimpleNamespace(
        create_chat_completion=short,
        create_completion=short,
        ChatCompletionRequest=Asked,
        CompletionRequest=Asked,
    )
    short_way.install(functions, app, {PATH})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://box") as client:
            return await client.request(method, PATH, **request)

    return asyncio.run(ask())


def test_a_valid_request_goes_the_short_way() -> None:
    assert answer(json={"model": "guide"}).json() == {"way": "short"}


@pytest.mark.parametrize(
    "request_",
    [
        {
            "json": {"model": "guide"},
            "headers": {"Content-Type": "application/json; charset=utf-8"},
        },
        {"json": {"model": "x" * short_way.MAX_BYTES}},
    ],
    ids=["another type", "long"],
)
def test_an_unusual_request_goes_the_long_way(request_: dict[str, Any]) -> None:
    assert answer(**request_).json() == {"way": "long"}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": 1}', b"\xff", b"[" * 50_000])
def test_a_request_that_is_not_valid_is_refused_on_the_long_way(body: bytes) -> None:
    said = answer(content=body, headers={"Content-Type": "application/json"})
    assert said.status_code in (400, 422)
    assert said.json()["detail"]


def test_another_method_is_refused() -> None:
    assert answer("GET").status_code == 405


def test_a_request_whose_client_has_gone_is_counted_as_fastapi_does() -> None:
    said = answer(json={"model": "gone"})
    assert (said.status_code, said.text) == (200, "null")


def test_a_path_that_the_model_does_not_serve_gets_no_way() -> None:
    app = FastAPI()
    before = [*app.router.routes]
    short_way.install(vllm_api, app, set())
    assert app.router.routes == before


@pytest.mark.parametrize("function", ["create_chat_completion", "create_completion"])
def test_vllms_functions_take_a_request_and_what_it_came_with(function: str) -> None:
    assert [*inspect.signature(getattr(vllm_api, function)).parameters] == [
        "request",
        "raw_request",
    ]
