"""Streams of /v1/chat/completions and /v1/completions, their plain deltas at a tenth of the cost.

vLLM writes each chunk of a stream as a pydantic model that goes through Starlette. Here vLLM's own
generators still write every chunk that says more than the next piece of text: the first, those with
a finish reason, usage, errors. From the first one with text the form of all plain deltas is
learned; from then on the results that are plain deltas never reach vLLM's generator: they are put
into that form and sent by ``Deltas``, which stands between the engine and the generator. A chunk
whose form is not found again word for word is never imitated.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.engine.prefill import Kept

# What a request may say besides defaults. It changes which tokens come, or the first or the last
# chunk, and never the form of those between. Whatever else a request has is left to vLLM.
_PLAIN = {
    *("messages", "prompt", "model", "stream", "stream_options", "n", "user", "request_id"),
    *("max_tokens", "max_completion_tokens", "min_tokens", "ignore_eos", "stop", "stop_token_ids"),
    *("include_stop_str_in_output", "skip_special_tokens", "spaces_between_special_tokens"),
    *("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias", "allowed_token_ids"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty", "bad_words"),
    *("response_format", "structured_outputs", "reasoning_effort", "chat_template_kwargs"),
    *("add_generation_prompt", "continue_final_message", "add_special_tokens"),
    *("truncate_prompt_tokens", "priority", "cache_salt", "session_id", "stream_interval"),
}
# Around each request: how to send past the layers between the generator and the server, none of
# which looks at the body of an answer.
_send: ContextVar[Send] = ContextVar("send")


class Direct:
    """An ASGI app that lets the streams of ``app`` send to the server directly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _send.set(send)
        await self._app(scope, receive, send)


def install(vllm_api: ModuleType, app: Any, flags: Any) -> ASGIApp:
    """``app``, vLLM's, with cheaper streams where nothing asks for another way."""
    rewrites_bodies = flags.middleware or os.environ.get("VLLM_DEBUG_LOG_API_SERVER_RESPONSE")
    # Comments between chunks, when none come for a while, are written by vLLM's own loop.
    if rewrites_bodies or flags.sse_keep_alive_interval or flags.enable_log_outputs:
        return app  # type: ignore[no-any-return]
    # A model that embeds or classifies has neither.
    chat = getattr(app.state, "openai_serving_chat", None)
    completion = getattr(app.state, "openai_serving_completion", None)
    if chat:
        through = passes_text_through(vllm_api, chat.parser_cls)
        chat.chat_completion_stream_generator = functools.partial(
            _chat, chat, chat.chat_completion_stream_generator, through
        )
    if completion:
        completion.completion_stream_generator = functools.partial(
            _completion, completion, completion.completion_stream_generator
        )
    return Direct(app)


def passes_text_through(vllm_api: ModuleType, parser: Any) -> bool:
    """True when ``parser``, a class or None, leaves the text of a chat without tools as it is."""
    base = vllm_api.DelegatingParser
    methods = {name for name, value in vars(base).items() if inspect.isfunction(value)}
    return parser is None or (
        # Put together by vLLM from parts, and not one with ways of its own.
        parser.__base__ is base
        and methods.isdisjoint(vars(parser))
        and parser.reasoning_parser_cls is None
        and not parser.tool_parser_cls.engine_based_streaming
    )


def is_plain(serving: Any, request: Any) -> bool:
    """True when all deltas of the answer have one form, but for their text."""
    if serving.enable_force_include_usage:
        # The usage so far is in every chunk.
        return False
    options = request.stream_options
    if options and options.continuous_usage_stats:
        return False
    fields = type(request).model_fields
    for name in request.model_fields_set - _PLAIN:
        field = fields.get(name)
        if field is None or getattr(request, name) != field.get_default(call_default_factory=True):
            return False
    return True


def _chat(
    serving: Any,
    generate: Callable[..., Any],
    through: bool,
    request: Any,
    results: Any,
    *rest: Any,
    **more: Any,
) -> AsyncIterator[str]:
    """``chat_completion_stream_generator`` of vLLM, which is ``generate``.

    ``through``: the model's parser leaves the text as it is.
    """
    kept = Kept(results, _send.get())
    if not through or not is_plain(serving, request):
        return generate(request, kept, *rest, **more)  # type: ignore[no-any-return]
    deltas = Deltas(kept, _send.get(), b'"content":', result=lambda item: item)
    return deltas.watch(generate(request, deltas, *rest, **more))


def _completion(
    serving: Any,
    generate: Callable[..., Any],
    request: Any,
    inputs: Any,
    results: Any,
    *rest: Any,
    **more: Any,
) -> AsyncIterator[str]:
    """``completion_stream_generator`` of vLLM, which is ``generate``."""
    kept = Kept(results, _send.get())
    if not is_plain(serving, request) or len(inputs) != 1:
        return generate(request, inputs, kept, *rest, **more)  # type: ignore[no-any-return]
    # Each item has the number of its prompt before the result.
    deltas = Deltas(kept, _send.get(), b'"text":', result=lambda item: item[1])
    return deltas.watch(generate(request, inputs, deltas, *rest, **more))


class Deltas:
    """The engine's results for vLLM's generator, without those that are sent from here.

    Iterated by that generator, in the task of the request: what it wrote before is sent by then.
    """

    def __init__(self, results: Kept, send: Send, key: bytes, result: Callable[[Any], Any]) -> None:
        self._results = results
        self._send = send
        # What stands before the text in a chunk.
        self._key = key
        self._result = result
        # What stands before and after the text of a delta, by the index of the choice.
        self._forms: dict[int, tuple[bytes, bytes]] = {}
        # Tokens of sent deltas, which vLLM's generator has still to count.
        self._uncounted: defaultdict[int, list[int]] = defaultdict(list)
        # Texts of the plain deltas that vLLM's generator was given last, by the choice.
        self._given: dict[int, str] = {}

    def __aiter__(self) -> Deltas:
        return self

    async def __anext__(self) -> Any:
        while True:
            item = await self._results.next()
            outputs = self._result(item).outputs
            body = self._body(outputs)
            if body is None:
                self._give(outputs)
                return item
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def watch(self, chunks: AsyncIterator[str]) -> AsyncIterator[str]:
        """``chunks`` of vLLM's generator, of which the form of a delta is learned."""
        async for chunk in chunks:
            if self._given:
                self._learn(chunk.encode())
            yield chunk

    def _body(self, outputs: list[Any]) -> bytes | None:
        """The chunks for ``outputs``; None when one of them is not a plain delta."""
        body = b""
        for output in outputs:
            form = self._forms.get(output.index)
            if form is None or not output.text or output.finish_reason is not None:
                return None
            body += form[0] + to_json(output.text) + form[1]
        for output in outputs:
            self._uncounted[output.index].extend(output.token_ids)
        return body

    def _give(self, outputs: list[Any]) -> None:
        self._given = {}
        for output in outputs:
            if uncounted := self._uncounted.pop(output.index, None):
                output.token_ids = [*uncounted, *output.token_ids]
            if output.text and output.finish_reason is None and output.index not in self._forms:
                self._given[output.index] = output.text

    def _learn(self, chunk: bytes) -> None:
        for index, text in self._given.items():
            told = self._key + to_json(text)
            before, found, after = chunk.partition(told)
            if found and b'"index":%d,' % index in before and told not in after:
                self._forms[index] = before + self._key, after
                del self._given[index]
                return
