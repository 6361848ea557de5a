"""`ai-sandbox bench`: how fast the running model answers, by the number of streams at once."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sandbox import report
from sandbox.bench.chart import line_chart, stacked
from sandbox.bench.figures import Figures, figures
from sandbox.bench.load import Answer, Target, lasting
from sandbox.errors import ConfigError, ExitCode, SandboxError
from sandbox.settings import Settings

CHAT = "/v1/chat/completions"
_TOKENS = 64


def run(settings: Settings, *, most: int, seconds: float, picture: Path, as_json: bool) -> int:
    """Measure for about ``seconds``, with 1, 2, 4 and so on up to ``most`` streams at once.

    Raises ``SandboxError`` when no model answers chats, or an answer is an error.
    """
    if most < 1 or not 1 <= seconds <= 3600:
        raise SandboxError(
            f"--most is {most} and --seconds {seconds:g}; they must be 1 or more, and seconds at "
            "most 3600.",
            "For example: ai-sandbox bench --most 16 --seconds 60",
            ExitCode.USAGE,
        )
    model, target = _target(settings)
    levels = _levels(most)
    _check_writable(picture)
    found: dict[int, Figures] = {}
    if not as_json:
        print(f"{model} on {target.host}:{target.port}, answers of {_TOKENS} tokens")
        print(f"{'streams':>8}{'tokens/s':>10}{'TTFT p50':>11}{'p99':>9}{'ITL p50':>10}{'p99':>9}")
    _warm_up(target, model)
    for level in levels:
        answers = asyncio.run(lasting(target, _bodies(model), level, seconds / len(levels)))
        _check(answers)
        found[level] = figures(answers, _TOKENS)
        if not as_json:
            print(_line(level, found[level]), flush=True)
    _write(picture, draw(model, found))
    if as_json:
        rows = [{"streams": n, **f.as_json()} for n, f in found.items()]
        print(json.dumps({"model": model, "tokens": _TOKENS, "levels": rows}, indent=2))
    else:
        print(f"Seconds and milliseconds as clients on this machine see them. Picture: {picture}")
    return ExitCode.OK


def draw(model: str, found: Mapping[int, Figures]) -> str:
    """An SVG: tokens a second, and the times to the first and to the next token."""
    output = [(float(n), f.tokens_per_second) for n, f in found.items()]
    first = {
        "p50": [(float(n), 1e3 * f.ttft_p50) for n, f in found.items()],
        "p99": [(float(n), 1e3 * f.ttft_p99) for n, f in found.items()],
    }
    across = "streams at once"
    return stacked(
        [
            line_chart(f"{model}: output", across, "tokens/s", {"all together": output}),
            line_chart("Time to first token", across, "ms", first),
        ]
    )


def _target(settings: Settings) -> tuple[str, Target]:
    """The model that answers, and where."""
    status = report.ask(settings)
    if status is None or status["state"] != "ready":
        said = status["message"] if status else "No AI Sandbox answers on API_PORT."
        raise SandboxError(f"There is nothing to measure. {said}", "See `ai-sandbox status`.")
    if CHAT not in status["routes"]:
        raise SandboxError(
            f"{status['model']} does not chat, and only chats are measured.",
            "`ai-sandbox use MODEL_ID` serves another model.",
        )
    # From the file or the environment: what stands on a command line, every user can read.
    key = next(iter(settings.api_keys), "")
    if status["key_needed"] and not key:
        raise ConfigError(
            "This API needs a key.",
            "`ai-sandbox keys add bench` makes one; then: API_KEY=KEY ai-sandbox bench",
        )
    if others := status["requests_running"]:
        print(f"Others are using the model ({others} requests now); they are in the figures.",
              file=sys.stderr)  # fmt: skip
    host, port = report.where(settings)
    return str(status["model"]), Target(host, port, key, CHAT)


def _levels(most: int) -> list[int]:
    """1, 2, 4 and so on, and ``most`` as the last."""
    doubled = itertools.takewhile(lambda n: n < most, (2**i for i in itertools.count()))
    return [*doubled, most]


def _bodies(model: str) -> Iterator[dict[str, Any]]:
    """Requests without end, no two with the same beginning, which the engine would remember."""
    for number in itertools.count():
        yield {
            "model": model,
            "messages": [{"role": "user", "content": f"{number}: count from {number} upwards."}],
            "max_tokens": _TOKENS,
            "ignore_eos": True,
            "stream": True,
        }


def _warm_up(target: Target, model: str) -> None:
    _check(asyncio.run(lasting(target, _bodies(model), 1, 0.1)))


def _check(answers: list[Answer]) -> None:
    for answer in answers:
        if answer.good and answer.first_text is None:
            raise SandboxError(
                "An answer had no text in it, so there is no time to its first token.",
                "Ask the model something, to see what it answers; another model may be measured.",
            )
        if not answer.good:
            said = answer.head.partition(b"\r\n\r\n")[2].decode(errors="replace")[:300]
            raise SandboxError(
                f"A request was answered with {answer.status or 'no answer at all'}: {said}",
                "Measure with fewer streams (--most), or see `ai-sandbox status`.",
            )


def _line(level: int, f: Figures) -> str:
    times = (f.ttft_p50, f.ttft_p99, f.itl_p50, f.itl_p99)
    first, worst, between, longest = (f"{1e3 * t:.0f} ms" for t in times)
    return f"{level:>8}{f.tokens_per_second:>10,.0f}{first:>11}{worst:>9}{between:>10}{longest:>9}"


def _check_writable(picture: Path) -> None:
    """Found out before the measurement; a picture that is there stays until there is another."""
    existed = picture.exists()
    try:
        picture.open("a").close()
        if not existed:
            picture.unlink()
    except OSError as error:
        raise _unwritable(picture, error) from None


def _write(picture: Path, text: str) -> None:
    try:
        picture.write_text(text)
    except OSError as error:
        raise _unwritable(picture, error) from None


def _unwritable(picture: Path, error: OSError) -> SandboxError:
    return SandboxError(
        f"The picture {picture} cannot be written: {error.strerror}.",
        "Name another file: --picture FILE",
    )
