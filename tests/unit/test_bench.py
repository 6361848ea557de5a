"""What answers took, and the picture of it."""

from __future__ import annotations

import asyncio
import math
from xml.etree import ElementTree

import pytest

from sandbox.bench.chart import line_chart, stacked
from sandbox.bench.figures import figures, quantile
from sandbox.bench.load import Answer, Target, together
from sandbox.bench.run import _levels


def answer(asked: float, first: float, *pieces: tuple[float, int]) -> Answer:
    return Answer(asked, 200, first, pieces[-1][0], list(pieces))


def test_tokens_that_came_together_have_no_time_between_them() -> None:
    found = figures([answer(0.0, 1.0, (1.5, 1), (2.0, 3))], tokens=5)
    assert (found.ttft_p50, found.itl_p50, found.itl_p99) == (1.0, 0.0, 0.5)
    assert found.tokens_per_second == 2.5


def test_answers_with_an_error_are_counted_apart() -> None:
    found = figures([answer(0.0, 1.0, (2.0, 1)), Answer(0.0, 503, None, 0.1)], tokens=2)
    assert (found.answers, found.errors, found.tokens_per_second) == (1, 1, 1.0)


def test_without_any_answer_there_is_no_figure() -> None:
    found = figures([Answer(0.0)], tokens=2)
    assert (found.answers, found.errors) == (0, 1)
    assert math.isnan(found.ttft_p50)


def test_the_events_of_an_answer_that_comes_at_once_are_counted() -> None:
    async def ask() -> list[Answer]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            events = b"".join(
                b'data: {"content":"%s"}\n\n' % text for text in (b"", b"a", b"b", b"c")
            )
            head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(events), events))
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await together(Target("127.0.0.1", port), [{}], 1)

    [answer] = asyncio.run(ask())
    assert answer.good
    assert [events for _, events in answer.pieces] == [2]


@pytest.mark.parametrize(("part", "expected"), [(0.5, 2), (0.99, 4), (0.25, 1)])
def test_a_quantile_is_one_of_the_values(part: float, expected: float) -> None:
    assert quantile([1, 2, 3, 4], part) == expected


@pytest.mark.parametrize(("most", "levels"), [(1, [1]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])])
def test_streams_double_up_to_the_most(most: int, levels: list[int]) -> None:
    assert _levels(most) == levels


def test_a_picture_has_every_series_and_no_markup_of_names() -> None:
    chart = line_chart("A <b>", "streams", "ms", {"p50": [(1, 2), (8, 5)], "p99": [(1, 3), (8, 5)]})
    root = ElementTree.fromstring(stacked([chart, chart]))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("p50") == texts.count("p99") == texts.count("A <b>") == 2
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 8
