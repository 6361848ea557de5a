"""Which results are sent in the form of those before, and which are left to vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from sandbox.engine import prefill
from sandbox.engine.prefill import COMMENT, Kept
from sandbox.engine.streaming import Deltas, is_plain


def result(text: str, token: int, finish: str | None = None, index: int = 0) -> Any:
    output = SimpleNamespace(index=index, text=text, token_ids=[token], finish_reason=finish)
    return SimpleNamespace(outputs=[output], request_id="r")


def stream(results: list[Any], model: str = "m") -> tuple[list[str], list[Any]]:
    """What a client gets of ``results``, and what the generator gets."""
    sent: list[str] = []
    seen: list[Any] = []

    async def engine() -> AsyncIterator[Any]:
        for item in results:
            yield item

    async def send(message: Any) -> None:
        sent.append(message["body"].decode())

    async def generator(items: AsyncIterator[Any]) -> AsyncIterator[str]:
        async for item in items:
            seen.append(item)
            for output in item.outputs:
                yield f'{{"model":"{model}","index":{output.index},"content":"{output.text}"}}\n'

    async def answer() -> None:
        deltas = Deltas(Kept(engine(), send), send, b'"content":', result=lambda item: item)
        async for chunk in deltas.watch(generator(deltas)):
            sent.append(chunk)

    asyncio.run(answer())
    return sent, seen


def test_what_follows_the_first_delta_has_its_form() -> None:
    sent, seen = stream([result(text, 1) for text in "abc"])
    assert sent == [f'{{"model":"m","index":0,"content":"{text}"}}\n' for text in "abc"]
    assert [item.outputs[0].text for item in seen] == ["a"]


def test_tokens_that_were_sent_are_counted_with_the_next_result_of_their_choice() -> None:
    results = [result(text, number) for number, text in enumerate("abc")]
    _, seen = stream([*results, result("x", 7, index=1), result("", 8), result("e", 9, "stop")])
    tokens = [(item.outputs[0].index, item.outputs[0].token_ids) for item in seen]
    assert tokens == [(0, [0]), (1, [7]), (0, [1, 2, 8]), (0, [9])]


def test_choices_that_come_together_are_learned_together() -> None:
    results = [result(text, 1) for text in "ab"]
    for item in results:
        item.outputs += result("a", 2, index=1).outputs
    sent, seen = stream(results)
    assert len(seen) == 1
    chunks = [(0, "a"), (1, "a"), (0, "b"), (1, "a")]
    expected = [f'{{"model":"m","index":{i},"content":"{text}"}}\n' for i, text in chunks]
    assert "".join(sent) == "".join(expected)


class Queue:
    """vLLM's queue between its output handler and the task of a request."""

    def __init__(self) -> None:
        self.output: Any = None
        self._ready = asyncio.Event()

    def put(self, output: Any) -> None:
        assert self.output is None
        self.output = output
        self._ready.set()

    async def results(self) -> AsyncIterator[Any]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            output, self.output = self.output, None
            if isinstance(output, Exception):
                raise output
            if output is None:
                return
            yield output


class State:
    """What vLLM's output handler keeps of a request; its own detokenizer as well."""

    request_index = 0
    sent_tokens_offset = 0

    def __init__(self, queue: Queue, stream_interval: int) -> None:
        self.queue = queue
        self.stream_interval = stream_interval
        self.detokenizer = self
        self.output_token_ids: list[int] = []
        self._text = ""

    def num_output_tokens(self) -> int:
        return len(self.output_token_ids)

    def get_next_output_text(self, finished: bool, delta: bool) -> str:
        text, self._text = self._text, ""
        return text

    def make_request_output(
        self,
        new_token_ids: list[int],
        pooling_output: None,
        finish_reason: str | None,
        stop_reason: None,
    ) -> Any:
        tokens = new_token_ids
        if self.stream_interval > 1:
            held = self.num_output_tokens() - self.sent_tokens_offset
            if not finish_reason and self.sent_tokens_offset and held < self.stream_interval:
                return None
            tokens = self.output_token_ids[self.sent_tokens_offset :]
            self.sent_tokens_offset = self.num_output_tokens()
        made = result(self.get_next_output_text(False, True), 0, finish_reason)
        made.outputs[0].token_ids = tokens
        return made

    def ends(self) -> None:
        """As when a client has gone."""
        made = self.make_request_output(
            new_token_ids=[], pooling_output=None, finish_reason="abort", stop_reason=None
        )
        self.queue.put(made)

    def says(self, text: str, finish: str | None = None) -> None:
        """A token from EngineCore, as the output handler treats it; none for "!", which ends."""
        if text == "!":
            self.ends()
            return
        self._text += text
        self.output_token_ids.append(len(self.output_token_ids))
        made = self.make_request_output(self.output_token_ids[-1:], None, finish, None)
        if made is not None:
            self.queue.put(made)


class AtOnce:
    """A server that sends parts, or cannot, or fails."""

    def __init__(self, sent: list[str], ready: bool = True, broken: bool = False) -> None:
        self._sent = sent
        self._ready = ready
        self._broken = broken

    def ready(self) -> bool:
        return self._ready

    def send(self, body: bytes) -> None:
        if self._broken:
            raise RuntimeError("no such connection")
        self._sent.append(body.decode())


def tapped(
    texts: str, *, interval: int = 1, **server: bool
) -> tuple[list[str], list[list[int]], State]:
    """What a client gets of ``texts``, the tokens of what woke the task, and what was kept of it.

    The last text comes with the reason of its end.
    """
    sent: list[str] = []
    woke: list[list[int]] = []

    async def send(message: Any) -> None:
        sent.append(message["body"].decode())

    async def generator(items: AsyncIterator[Any]) -> AsyncIterator[str]:
        try:
            async for item in items:
                for output in item.outputs:
                    woke.append(output.token_ids)
                    yield f'{{"model":"m","index":{output.index},"content":"{output.text}"}}\n'
        except RuntimeError:
            yield "error"

    async def answer() -> State:
        queue = Queue()
        state = State(queue, interval)
        results = Kept(queue.results(), send)
        deltas = Deltas(results, send, b'"content":', result=lambda item: item)
        deltas.tap(AtOnce(sent, **server), lambda result, index: state)

        async def read() -> None:
            async for chunk in deltas.watch(generator(deltas)):
                sent.append(chunk)

        reading = asyncio.ensure_future(read())
        for number, text in enumerate(texts, 1):
            if reading.done():
                break
            state.says(text, "stop" if number == len(texts) else None)
            for _ in range(5):
                await asyncio.sleep(0)
        if not reading.done():
            queue.put(None)
        await reading
        return state

    state = asyncio.run(answer())
    return sent, woke, state


def deltas(*texts: str) -> list[str]:
    return [f'{{"model":"m","index":0,"content":"{text}"}}\n' for text in texts]


def test_plain_deltas_are_sent_past_the_task_of_the_request() -> None:
    sent, woke, state = tapped("abcd")
    assert sent == deltas(*"abcd")
    # The end counts those that were sent.
    assert woke == [[0], [1, 2, 3]]
    assert "make_request_output" not in vars(state)


def test_deltas_past_the_task_come_as_many_at_a_time_as_vllm_would_send() -> None:
    sent, woke, _ = tapped("abcdef", interval=2)
    assert sent == deltas("a", "bc", "de", "f")
    assert woke == [[0], [1, 2, 3, 4, 5]]


def test_what_cannot_be_sent_at_once_is_sent_by_the_task() -> None:
    sent, woke, _ = tapped("abcd", ready=False)
    assert sent == deltas(*"abcd")
    assert woke == [[0], [1, 2, 3]]


def test_a_request_that_is_ended_early_counts_what_was_sent() -> None:
    sent, woke, _ = tapped("abc!")
    assert sent == deltas(*"abc", "")
    assert woke == [[0], [1, 2]]


def test_a_server_that_fails_ends_the_stream_and_not_the_engine() -> None:
    sent, woke, state = tapped("abcd", broken=True)
    assert sent == [*deltas("a"), "error"]
    assert woke == [[0]]
    assert "make_request_output" not in vars(state)


def test_a_client_hears_of_a_long_prefill_and_of_nothing_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefill, "KEEP_ALIVE_SECONDS", 0.01)
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message["body"])

    async def slowly() -> AsyncIterator[int]:
        # A long prefill: until the client has heard of it twice.
        while len(sent) < 2:
            await asyncio.sleep(0)
        yield 1
        heard = len(sent)
        await asyncio.sleep(0.05)
        assert len(sent) == heard
        yield 2

    async def read() -> list[int]:
        return [item async for item in Kept(slowly(), send)]

    assert asyncio.run(read()) == [1, 2]
    assert set(sent) == {COMMENT}


def test_text_is_escaped() -> None:
    sent, _ = stream([result("a", 1), result('"\\\n\x01ü🙂', 2)])
    assert sent[1] == '{"model":"m","index":0,"content":"\\"\\\\\\n\\u0001ü🙂"}\n'


def test_a_form_is_not_learned_where_the_text_stands_twice() -> None:
    _, seen = stream([result("a", 1), result("b", 2), result("c", 3)], '","content":"a"')
    # The name of the model looks like the first delta; the second tells them apart.
    assert [item.outputs[0].text for item in seen] == ["a", "b"]


class Request(BaseModel, extra="allow"):
    stream_options: Any = None
    temperature: float | None = None
    logprobs: bool | None = False


@pytest.mark.parametrize(
    ("request_", "plain"),
    [
        (Request(), True),
        (Request(temperature=0.5), True),
        (Request(logprobs=False), True),
        (Request(logprobs=True), False),
        (Request(stream_options=SimpleNamespace(continuous_usage_stats=None)), True),
        (Request(stream_options=SimpleNamespace(continuous_usage_stats=True)), False),
        (Request.model_validate({"of_a_later_time": 1}), False),
    ],
)
def test_what_is_not_known_to_be_plain_is_left_to_vllm(request_: Request, plain: bool) -> None:
    assert is_plain(SimpleNamespace(enable_force_include_usage=False), request_) is plain
    assert not is_plain(SimpleNamespace(enable_force_include_usage=True), request_)
