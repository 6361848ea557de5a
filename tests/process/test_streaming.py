"""Our streams are vLLM's to the byte: both ways answer the same requests from the same results.

A new vLLM that changes a field of a chunk fails here, or, when plain deltas are no longer
recognised, in ``test_plain_deltas_do_not_reach_vllm``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from tests.process.replay import Play, Recording, recorded, said_again

# vLLM and torch warn about themselves, in this process because both ways run in it.
pytestmark = pytest.mark.filterwarnings("ignore")

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
QUESTION = read_topics()[5].question
# Parsers that leave plain chats alone, one that does not, and none.
PARSERS = (None, "hermes", "pythonic", "k2_horizon")


@dataclass
class Both:
    """One engine, and what it says for a request, which is answered in three ways."""

    runner: asyncio.Runner
    engine: Engine
    recording: Recording = field(default_factory=Recording)
    # How often vLLM's generators looked at an output, when we answered by the task of the request.
    looked: int = 0
    # How many results woke that task, where the rest can be sent without it.
    woke: int = 0

    @property
    def state(self) -> Any:
        return self.app.state

    @property
    def app(self) -> Any:
        return self.engine.app._app  # type: ignore[union-attr]

    def answers(
        self, path: str, body: dict[str, Any], play: Play, parser: str | None
    ) -> tuple[bytes, set[bytes]]:
        """What vLLM answers, and what we do: by the task of the request, and past it."""
        client = self.engine._client
        self._plain()
        self.state.openai_serving_chat.parser_cls = parser_class(parser)
        with recorded(client) as self.recording:
            self.runner.run(call(self.app, path, body))
        error = import_vllm().EngineDeadError()
        with said_again(client, self.recording, play, error):
            vllms = self.runner.run(call(self.app, path, body))
        ours_app = streaming.install(import_vllm(), self.app, self.engine._flags)
        self.looked = 0
        with said_again(client, self.recording, play, error):
            ours = self.runner.run(call(ours_app, path, body))
        looked = self.looked
        with said_again(client, self.recording, play, error) as played:
            past = self.runner.run(call(ours_app, path, body, at_once=True))
        self.looked, self.woke = looked, played.woke
        return vllms, {ours, past}

    def left(self, path: str, body: dict[str, Any]) -> tuple[list[str], list[str]]:
        """What EngineCore was asked, and told to end, when the client leaves in the middle."""
        client = self.engine._client
        self._plain()
        with recorded(client) as recording:
            self.runner.run(call(self.app, path, body))
        app = streaming.install(import_vllm(), self.app, self.engine._flags)
        error = import_vllm().EngineDeadError()
        with said_again(client, recording, Play(), error) as played:
            self.runner.run(call(app, path, body, at_once=True, leaves_after=20))
        return played.begun, played.ended

    def _plain(self) -> None:
        for serving in (self.state.openai_serving_chat, self.state.openai_serving_completion):
            for name in ("chat_completion_stream_generator", "completion_stream_generator"):
                vars(serving).pop(name, None)


def parser_class(name: str | None) -> Any:
    from vllm.parser.parser_manager import ParserManager

    return ParserManager.get_parser(tool_parser_name=name, enable_auto_tools=bool(name))


async def call(
    app: Any, path: str, body: dict[str, Any], *, at_once: bool = False, leaves_after: int = 10**9
) -> bytes:
    """The answer of an ASGI app: its status, headers and body, without the time.

    ``at_once``: parts can be sent past the task of the request, but for every fifth. The client
    goes away after ``leaves_after`` parts.
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
        if len(sent) >= leaves_after:
            ended.set()

    class AtOnce:
        def ready(self) -> bool:
            return len(sent) % 5 != 0

        def send(self, part: bytes) -> None:
            sent.append({"type": "http.response.body", "body": part})
            if len(sent) >= leaves_after:
                ended.set()

    if at_once:
        scope["extensions"] = {streaming.SEND_NOW: AtOnce()}
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
)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(options=OPTIONS, chat=CHAT_OPTIONS, play=PLAYS, parser=st.sampled_from(PARSERS))
def test_a_chat_is_vllms_to_the_byte(
    both: Both, options: dict[str, Any], chat: dict[str, Any], play: Play, parser: str | None
) -> None:
    body = {"model": GUIDE, "stream": True, **options, **chat}
    vllms, ours = both.answers(CHAT, body, play, parser)
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
    vllms, ours = both.answers(COMPLETIONS, body, play, None)
    assert ours == {vllms}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(("n", "interval"), [(1, 1), (2, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("parser", PARSERS[:3])
def test_plain_deltas_do_not_reach_vllm(
    both: Both, path: str, n: int, interval: int, parser: str | None
) -> None:
    asked = {"messages": [user(QUESTION)]} if path == CHAT else {"prompt": QUESTION}
    options = {"max_tokens": 40, "ignore_eos": True, "temperature": 1, "seed": 1, "n": n}
    options["stream_interval"] = interval
    usage = {"stream_options": {"include_usage": True}}
    body = {"model": GUIDE, "stream": True, **options, **usage, **asked}
    vllms, ours = both.answers(path, body, Play(), parser)
    assert ours == {vllms}
    assert b'"completion_tokens":%d' % (40 * n) in vllms
    empty = len(re.findall(rb'"(?:content|text)":""', vllms))
    # Seen are the first of each choice, and the last with all that came with it.
    assert both.looked <= 2 * n * n + empty * n
    # Besides those every fifth.
    assert both.woke <= both.looked + 2 + len(both.recording.steps) * n / 4


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_the_engine_hears_of_a_client_that_leaves_a_stream(both: Both, path: str, n: int) -> None:
    asked = {"messages": [user(QUESTION)]} if path == CHAT else {"prompt": QUESTION}
    options = {"max_tokens": 60, "ignore_eos": True, "temperature": 1, "seed": 1, "n": n}
    begun, ended = both.left(path, {"model": GUIDE, "stream": True, **options, **asked})
    assert len(begun) == n
    assert sorted(ended) == sorted(begun)
    assert set(begun).isdisjoint(both.engine._client.output_processor.request_states)


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
