"""Our streams are vLLM's to the byte: both ways answer the same requests from the same results.

A new vLLM that changes a field of a chunk fails here, or, when plain deltas are no longer
recognised, in ``test_plain_deltas_do_not_reach_vllm``.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.engine import streaming, zygote
from sandbox.engine.engine import CLOSE_SECONDS, Engine
from sandbox.engine.loading import import_vllm
from sandbox.engine.logs import EngineLog
from sandbox.host.processes import descendants
from sandbox.models.guide import guide_folder
from sandbox.models.guide.topics import read_topics
from sandbox.models.source import LocalModel
from sandbox.settings import Settings
from tests.process.api_service import GUIDE, ApiService, alive
from tests.process.processes import wait_until

# vLLM and torch warn about themselves, in this process because both ways run in it.
pytestmark = pytest.mark.filterwarnings("ignore")

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
QUESTION = read_topics()[5].question
# Parsers that leave plain chats alone, one that does not, and none.
PARSERS = (None, "hermes", "pythonic", "k2_horizon")


@dataclass
class Both:
    """One engine, whose results are recorded for the one way and played back for the other."""

    runner: asyncio.Runner
    engine: Engine
    # What the generators of vLLM and ours read: results, and an error for the end.
    recorded: list[Any] = field(default_factory=list)
    # How often vLLM's generators looked at an output.
    looked: int = 0
    # How many results woke the task of the request, where the rest can be sent without it.
    woke: int = 0

    @property
    def state(self) -> Any:
        return self.app.state

    @property
    def app(self) -> Any:
        return self.engine.app._app  # type: ignore[union-attr]

    def answers(self, path: str, body: dict[str, Any], play: Play) -> tuple[bytes, set[bytes]]:
        """What vLLM answers, and what we do: by the task of the request, and past it."""
        chat, completion = self.state.openai_serving_chat, self.state.openai_serving_completion
        for serving in (chat, completion):
            for name in ("chat_completion_stream_generator", "completion_stream_generator"):
                vars(serving).pop(name, None)
        chat.parser_cls = play.parser_class()
        self._engine_says(None)
        self.runner.run(call(self.app, path, body))
        self._engine_says(play.of(self.recorded))
        vllms = self.runner.run(call(self.app, path, body))
        ours_app = streaming.install(import_vllm(), self.app, self.engine._flags)
        self.looked = 0
        ours = self.runner.run(call(ours_app, path, body))
        looked = self.looked
        self._engine_says(play.of(self.recorded), queued=True)
        self.woke = 0
        past = self.runner.run(call(ours_app, path, body, at_once=True))
        self.looked = looked
        return vllms, {ours, past}

    def _engine_says(self, results: list[Any] | None, *, queued: bool = False) -> None:
        """Have the engine's client give ``results`` from now on; None: the engine's own.

        ``queued``: through a queue of vLLM's, as between its output handler and a request.
        """
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.output_processor import RequestOutputCollector

        client: Any = self.engine._client
        vars(client).pop("generate", None)
        own = client.generate

        async def record(*arguments: Any, **more: Any) -> AsyncIterator[Any]:
            async for result in own(*arguments, **more):
                self.recorded.append(copy.deepcopy(result))
                yield result

        async def play(*arguments: Any, **more: Any) -> AsyncIterator[Any]:
            for result in copy.deepcopy(results or []):
                if isinstance(result, Exception):
                    raise result
                yield result

        async def play_queued(*arguments: Any, **more: Any) -> AsyncIterator[Any]:
            name, processor = arguments[2], client.output_processor
            queue = RequestOutputCollector(RequestOutputKind.DELTA, name)
            state = processor.request_states[name] = SimpleNamespace(queue=queue)
            processor.external_req_ids[name].append(name)

            async def feed() -> None:
                for result in copy.deepcopy(results or []):
                    queue.put(result)
                    # Until the task has done with it, and some more.
                    for _ in range(20):
                        await asyncio.sleep(0)

            feeding = asyncio.ensure_future(feed())
            try:
                finished = False
                while not finished:
                    result: Any = await queue.get()
                    self.woke += 1
                    finished = result.finished
                    yield result
            finally:
                feeding.cancel()
                # One that nobody iterates to its end is ended late: beside the next of this name.
                if processor.request_states.get(name) is state:
                    del processor.request_states[name]
                    names = processor.external_req_ids[name]
                    names.remove(name)
                    if not names:
                        del processor.external_req_ids[name]

        if results is None:
            self.recorded = []
        plays = play_queued if queued else play
        client.generate = record if results is None else plays


@dataclass(frozen=True)
class Play:
    """What becomes of the engine's results on their way."""

    # How many come at once, as when the reader is late.
    together: int = 1
    # After so many an error comes; None: never.
    fails_after: int | None = None
    # The engine's own word that something went wrong, in place of an exception.
    says_error: bool = False
    parser: str | None = None

    def parser_class(self) -> Any:
        from vllm.parser.parser_manager import ParserManager

        return ParserManager.get_parser(
            tool_parser_name=self.parser, enable_auto_tools=bool(self.parser)
        )

    def of(self, recorded: list[Any]) -> list[Any]:
        found: list[Any] = []
        for number, result in enumerate(copy.deepcopy(recorded)):
            if number % self.together and not found[-1].finished:
                found[-1].add(result, aggregate=True)
            else:
                found.append(result)
        if self.fails_after is not None and self.fails_after < len(found):
            if self.says_error:
                found[self.fails_after].outputs[0].finish_reason = "error"
            else:
                error = import_vllm().EngineDeadError()
                found = [*found[: self.fails_after], error]
        return found


async def call(app: Any, path: str, body: dict[str, Any], *, at_once: bool = False) -> bytes:
    """The answer of an ASGI app: its status, headers and body, without the time.

    ``at_once``: parts can be sent past the task of the request, but for every fifth.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"x-request-id", b'of a "test"')],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    sent: list[Any] = []
    ended = asyncio.Event()
    asked = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    def send_now(part: bytes) -> bool:
        if len(sent) % 5 == 0:
            return False
        sent.append({"type": "http.response.body", "body": part})
        return True

    if at_once:
        scope["extensions"] = {streaming.SEND_NOW: send_now}
    await app(scope, receive, send)
    ended.set()
    assert [m["type"] for m in sent] == ["http.response.start"] + ["http.response.body"] * (
        len(sent) - 1
    )
    start = json.dumps([sent[0]["status"], [str(pair) for pair in sent[0]["headers"]]]).encode()
    data = b"".join(message["body"] for message in sent[1:])
    return start + b"\n" + re.sub(rb'"created":\d+', b'"created":0', data)


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    model = LocalModel(GUIDE, guide_folder(), "llama", builtin=True)
    # Fast on every processor.
    chosen = {"MODEL_ID": GUIDE, "VLLM_EXTRA_ARGS": "--dtype float32"}
    others = set(descendants(os.getpid()))
    engine = Engine.start(Settings.model_validate(chosen), model, None, EngineLog())
    its_own = set(descendants(os.getpid())) - others
    # An engine ends all that its process has started; here that would be other tests' services.
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setattr(zygote, "engine_processes", lambda: [p for p in its_own if alive(p)])
        runner.run(engine.open())
        both = Both(runner, engine)
        for serving in (both.state.openai_serving_chat, both.state.openai_serving_completion):
            look = serving._raise_if_error

            def count(*arguments: Any, look: Any = look) -> None:
                both.looked += 1
                look(*arguments)

            serving._raise_if_error = count
        yield both
        both._engine_says([])
        runner.run(engine.close(CLOSE_SECONDS))


def tokens_of(texts: str) -> list[int]:
    """The numbers of the guide's tokens that have one of the characters of ``texts``."""
    vocabulary = json.loads((guide_folder() / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(n for text, n in vocabulary.items() if any(c in text for c in texts))[:40]


# What JSON writes in another way, and parts of characters (as byte-level tokenizers show them).
AWKWARD = tokens_of('"\\ĊĉâðÃ')

OPTIONS = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 24)},
    optional={
        "temperature": st.sampled_from([0, 1.5]),
        "seed": st.integers(0, 9),
        "n": st.integers(1, 3),
        "stop": st.sampled_from([None, "e", [" the", "\n"], "never said"]),
        "stop_token_ids": st.lists(st.integers(0, 1500), max_size=3),
        "include_stop_str_in_output": st.booleans(),
        "skip_special_tokens": st.booleans(),
        "ignore_eos": st.booleans(),
        "min_tokens": st.integers(0, 3),
        "logit_bias": st.dictionaries(st.sampled_from(AWKWARD).map(str), st.just(80), max_size=6),
        "stream_options": st.sampled_from(
            [
                None,
                {"include_usage": True},
                {"include_usage": True, "continuous_usage_stats": True},
                {"include_usage": False, "continuous_usage_stats": True},
            ]
        ),
        "stream_interval": st.integers(1, 3),
        "user": st.just("somebody"),
        "no_such_field": st.just(1),
        "echo": st.booleans(),
        "return_token_ids": st.booleans(),
        "return_tokens_as_token_ids": st.booleans(),
        "response_format": st.just({"type": "text"}),
    },
)
CHAT_OPTIONS = st.fixed_dictionaries(
    {"messages": st.sampled_from([QUESTION, "", "ünïcödé 🙂"]).map(lambda text: [user(text)])},
    optional={
        "logprobs": st.booleans(),
        "include_reasoning": st.booleans(),
        "parallel_tool_calls": st.booleans(),
        "return_prompt_text": st.booleans(),
        "tools": st.just(
            [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        ),
        "tool_choice": st.sampled_from(["none", "auto"]),
    },
)
COMPLETION_OPTIONS = st.fixed_dictionaries(
    {"prompt": st.sampled_from([QUESTION, [5, 6, 7], "x" * 9000])},
    optional={"logprobs": st.integers(0, 2), "suffix": st.sampled_from([None, "."])},
)
PLAYS = st.builds(
    Play,
    together=st.integers(1, 4),
    fails_after=st.none() | st.integers(0, 6),
    says_error=st.booleans(),
    parser=st.sampled_from(PARSERS),
)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(options=OPTIONS, chat=CHAT_OPTIONS, play=PLAYS)
def test_a_chat_is_vllms_to_the_byte(
    both: Both, options: dict[str, Any], chat: dict[str, Any], play: Play
) -> None:
    body = {"model": GUIDE, "stream": True, **options, **chat}
    vllms, ours = both.answers(CHAT, body, play)
    assert ours == {vllms}


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(options=OPTIONS, completion=COMPLETION_OPTIONS, play=PLAYS)
def test_a_completion_is_vllms_to_the_byte(
    both: Both, options: dict[str, Any], completion: dict[str, Any], play: Play
) -> None:
    body = {"model": GUIDE, "stream": True, **options, **completion}
    vllms, ours = both.answers(COMPLETIONS, body, play)
    assert ours == {vllms}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("parser", PARSERS[:3])
def test_plain_deltas_do_not_reach_vllm(both: Both, path: str, n: int, parser: str | None) -> None:
    asked = {"messages": [user(QUESTION)]} if path == CHAT else {"prompt": QUESTION}
    options = {"max_tokens": 40, "ignore_eos": True, "temperature": 1, "seed": 1, "n": n}
    usage = {"stream_options": {"include_usage": True}}
    body = {"model": GUIDE, "stream": True, **options, **usage, **asked}
    vllms, ours = both.answers(path, body, Play(parser=parser))
    assert ours == {vllms}
    assert b'"completion_tokens":%d' % (40 * n) in vllms
    outputs = [output for result in both.recorded for output in result.outputs]
    # Seen are the first of each choice, and the last with all that came with it.
    assert len(outputs) > 10
    assert both.looked <= 2 * n * n + [output.text for output in outputs].count("") * n
    # Besides those every fifth.
    assert both.woke <= both.looked + 2 + len(both.recorded) / 4


def test_a_client_that_goes_away_ends_its_request(api: ApiService) -> None:
    def generated() -> float:
        text = httpx.get(f"{api.url}/metrics").text
        return float(re.findall(r"\nvllm:generation_tokens_total\{.*\} (\S+)", text)[0])

    def settled() -> bool:
        before = generated()
        time.sleep(0.3)
        return generated() == before

    before = generated()
    body = {"messages": [user(QUESTION)], "stream": True, "ignore_eos": True, "max_tokens": 900}
    for _ in range(3):
        with httpx.stream("POST", api.url + CHAT, json={"model": GUIDE, **body}) as answer:
            next(answer.iter_lines())
    wait_until(settled, 3, api.tell)
    assert generated() - before < 3 * 900
