"""Streams of /v1/chat/completions and /v1/completions, their plain deltas at a tenth of the cost.

vLLM writes each chunk of a stream as a pydantic model that goes through Starlette. Here vLLM's own
generators still write every chunk that says more than the next piece of text: the first, those with
a finish reason, usage, errors. From the first one with text the form of all plain deltas is
learned; from then on the results that are plain deltas never reach vLLM's generator: they are put
into that form and sent by ``Deltas``, which stands between the engine and the generator. A chunk
whose form is not found again word for word is never imitated.

Where the server offers it (``SEND_NOW``), plain deltas are sent as the engine's output handler has
their text: vLLM makes no result of it, and the task of the request sleeps on. Both cost more than
the rest of a delta.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Protocol

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
# The server's ASGI extension, a ``SendNow``.
SEND_NOW = "ai_sandbox.send_now"

log = logging.getLogger(__name__)


class SendNow(Protocol):
    """Sends parts of a body that has begun, each in one call that does not wait."""

    def ready(self) -> bool:
        """False when nothing can be sent now, because the client does not read for example."""

    def send(self, body: bytes) -> None:
        """Send a part; only when ``ready``."""


_send_now: ContextVar[SendNow | None] = ContextVar("send_now")


class Direct:
    """An ASGI app that lets the streams of ``app`` send to the server directly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _send.set(send)
        _send_now.set((scope.get("extensions") or {}).get(SEND_NOW))
        await self._app(scope, receive, send)


def install(vllm_api: ModuleType, app: Any, flags: Any) -> ASGIApp:
    """``app``, vLLM's, with cheaper streams where nothing asks for another way."""
    rewrites_bodies = flags.middleware or os.environ.get("VLLM_DEBUG_LOG_API_SERVER_RESPONSE")
    # Comments between chunks, when none come for a while, are written by vLLM's own loop.
    by_vllm = flags.sse_keep_alive_interval or flags.enable_log_outputs
    # What only a result takes away would pile up for as long as none is made.
    piles_up = flags.return_sampling_mask
    if rewrites_bodies or by_vllm or piles_up:
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
    deltas.tap(_send_now.get(None), functools.partial(_state_of, serving))
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
    deltas.tap(_send_now.get(None), functools.partial(_state_of, serving))
    return deltas.watch(generate(request, inputs, deltas, *rest, **more))


def _state_of(serving: Any, result: Any, index: int) -> Any:
    """What the engine's output handler keeps of a choice of ``result``; None when not known."""
    processor = serving.engine_client.output_processor
    names = processor.external_req_ids.get(result.request_id, ())
    states = [processor.request_states.get(name) for name in names]
    # Clients choose names: two requests may have the same, and this one may have ended meanwhile.
    # Prompts may be the same as well, but not in the same list.
    found = [
        state
        for state in states
        if state
        and state.request_index == index
        and state.prompt_token_ids is result.prompt_token_ids
    ]
    return found[0] if len(found) == 1 else None


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
        # Of a request whose deltas the engine's output handler sends. Its task must be waiting for
        # a result meanwhile: what it has taken before is sent first.
        self._send_now: SendNow | None = None
        self._state_of: Callable[[Any, int], Any] | None = None
        self._tapped: list[Any] = []
        self._waits = False
        # The result that vLLM's generator was given last.
        self._last: Any = None

    def tap(self, send_now: SendNow | None, state_of: Callable[[Any, int], Any]) -> None:
        """Send deltas where they are made, once their form is known."""
        self._send_now = send_now
        self._state_of = state_of if send_now else None

    def __aiter__(self) -> Deltas:
        return self

    async def __anext__(self) -> Any:
        while True:
            self._waits = True
            try:
                item = await self._results.next()
            finally:
                self._waits = False
            result = self._result(item)
            body = self._body(result.outputs)
            if body is None:
                self._last = result
                self._give(result.outputs)
                return item
            self._count(result.outputs)
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def watch(self, chunks: AsyncIterator[str]) -> AsyncIterator[str]:
        """``chunks`` of vLLM's generator, of which the form of a delta is learned."""
        try:
            async for chunk in chunks:
                if self._given:
                    self._learn(chunk.encode())
                yield chunk
        finally:
            self._leave()

    def _tap(self, index: int) -> None:
        state = self._state_of(self._last, index) if self._state_of else None
        if state is None:
            return
        own = state.make_request_output

        # By vLLM's names: who ends a request early gives them.
        def make_request_output(
            new_token_ids: list[int],
            pooling_output: Any,
            finish_reason: Any,
            *rest: Any,
            **more: Any,
        ) -> Any:
            """What vLLM's, which is ``own``, makes of it; None is no result yet."""
            if finish_reason is None and self._sent(state, new_token_ids):
                return None
            return own(new_token_ids, pooling_output, finish_reason, *rest, **more)

        state.make_request_output = make_request_output
        self._tapped.append(state)

    def _leave(self) -> None:
        for state in self._tapped:
            vars(state).pop("make_request_output", None)
        # No second time.
        self._state_of = None

    def _sent(self, state: Any, tokens: list[int]) -> bool:
        """Send what is new of the text of ``state``, or keep it for more; False: make a result.

        It runs in the engine's output handler, which serves all requests and must go on.
        """
        # What the task has not taken yet comes before this.
        if not self._waits or state.queue.output is not None:
            return False
        try:
            return self._send_text(state, tokens)
        except Exception as error:
            log.exception("A delta could not be sent at once")
            self._leave()
            # Its text is lost, and so is the stream.
            state.queue.put(error)
            return True

    def _send_text(self, state: Any, tokens: list[int]) -> bool:
        detokenizer, index = state.detokenizer, state.request_index
        count = 0
        if state.stream_interval > 1:
            # As vLLM counts.
            count = detokenizer.num_output_tokens()
            if count - state.sent_tokens_offset < state.stream_interval:
                return True
            tokens = detokenizer.output_token_ids[state.sent_tokens_offset :]
        if not (self._send_now and self._send_now.ready()):
            return False
        text = detokenizer.get_next_output_text(False, True)
        if not text:
            return False
        before, after = self._forms[index]
        self._send_now.send(before + to_json(text) + after)
        self._uncounted[index].extend(tokens)
        if count:
            state.sent_tokens_offset = count
        return True

    def _body(self, outputs: list[Any]) -> bytes | None:
        """The chunks for ``outputs``; None when one of them is not a plain delta."""
        body = b""
        for output in outputs:
            form = self._forms.get(output.index)
            if form is None or not output.text or output.finish_reason is not None:
                return None
            body += form[0] + to_json(output.text) + form[1]
        return body

    def _count(self, outputs: list[Any]) -> None:
        for output in outputs:
            self._uncounted[output.index].extend(output.token_ids)

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
                self._tap(index)
                return
