"""Every parser that a family gets is one of vLLM's, and starts with what its row asks for."""

from __future__ import annotations

import warnings
from typing import Any

import jinja2
import pytest

from sandbox.models.families import PLAIN_TEMPLATE, rows
from sandbox.models.guide import guide_folder

with warnings.catch_warnings():
    # torch, transformers and vllm warn about themselves when they are imported.
    warnings.simplefilter("ignore")
    from transformers import AutoTokenizer
    from vllm.parser import ParserManager
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

TOOLS, REASONING = rows()["tools"], rows()["reasoning"]


def name(row: dict[str, Any]) -> str:
    return f"{row['types'][0]}-{row['parser']}"


@pytest.mark.parametrize("row", TOOLS, ids=name)
def test_a_tool_parser_starts_with_the_tokens_of_its_row(row: dict[str, Any]) -> None:
    assert row["parser"] in ToolParserManager.list_registered()
    start(row, tool_parser_name=row["parser"], enable_auto_tools=True)


@pytest.mark.parametrize("row", REASONING, ids=name)
def test_a_reasoning_parser_starts_with_the_tokens_of_its_row(row: dict[str, Any]) -> None:
    assert row["parser"] in ReasoningParserManager.list_registered()
    start(row, reasoning_parser_name=row["parser"])


def start(row: dict[str, Any], **parsers: Any) -> None:
    """As vLLM does at its start: it refuses a tokenizer that lacks something."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer: Any = AutoTokenizer.from_pretrained(guide_folder())
        tokenizer.add_tokens(row.get("tokens", []), special_tokens=True)
        harmony = row["parser"].startswith("openai")
        assert ParserManager.get_parser(
            model_name="model", tokenizer=tokenizer, is_harmony=harmony, **parsers
        )


def test_rows_ask_for_something_where_types_are_many() -> None:
    for row in (*TOOLS, *REASONING):
        assert set(row) <= {"types", "tokens", "template", "without", "parser"}
        if "*" in row["types"]:
            assert row["template"]


def test_the_plain_template_writes_who_speaks() -> None:
    template = jinja2.Template(PLAIN_TEMPLATE.read_text(encoding="utf-8"))
    parts = [{"type": "text", "text": "And"}, {"type": "text", "text": "you?"}]
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": parts},
    ]
    written = template.render(messages=messages, add_generation_prompt=True)
    assert written == "Be short.\n\nUser: Hello\nAssistant: Hi\nUser: And you?\nAssistant:"
