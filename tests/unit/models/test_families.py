# ruff: noqa: RUF001 (DeepSeek's tokens are written with these letters)
"""A model's own files decide which parsers it gets, and a wrong one is never chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.models.families import PLAIN_TEMPLATE, Family, family_of
from sandbox.models.guide import guide_folder

# What the templates of these models have in them, in short.
QWEN3 = '<tool_call>\n{"name": x}\n</tool_call> <think>\n\n</think>'
CODER = "<tool_call>\n<function=x>\n<parameter=y>"
GLM = "<tool_call>{function-name}\n<arg_key>x</arg_key> </tool_call> <think></think>"
R1 = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>\n```json </think>"
V31 = "<｜tool▁call▁begin｜>x<｜tool▁sep｜> {% if thinking %}<think>{% else %}</think>{% endif %}"
THINK = ("<think>", "</think>")
DEEPSEEK = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", *THINK)


def family(folder: Path, model_type: str, template: str, *tokens: str) -> Family:
    added = [{"id": number, "content": token} for number, token in enumerate(tokens)]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return family_of(model_type, folder)


@pytest.mark.parametrize(
    ("model_type", "template", "tokens", "tools", "reasoning"),
    [
        ("mistral", "[TOOL_CALLS]", ["[TOOL_CALLS]"], "mistral", None),
        ("mistral", "x", ["[TOOL_CALLS]", "[THINK]", "[/THINK]"], "mistral", "mistral"),
        ("llama", '{"name": x}', ["<|python_tag|>"], "llama3_json", None),
        ("llama", "[func_name1(a=b)]", ["<|python_tag|>"], "pythonic", None),
        # Hermes 3 on Llama, and DeepSeek's distillation into it.
        ("llama", "<tool_call> </tool_call>", ["<|python_tag|>"], "hermes", None),
        ("llama", "</think>", THINK, None, "deepseek_r1"),
        ("llama4", "x", [], "llama4_pythonic", None),
        ("qwen2", "<tool_call> </tool_call>", ["<tool_call>"], "hermes", None),
        ("qwen2", "<tool_call> </tool_call> </think>", THINK, "hermes", "deepseek_r1"),
        ("qwen3", QWEN3, THINK, "hermes", "qwen3"),
        ("qwen3_moe", CODER, [], "qwen3_coder", None),
        ("qwen3_next", QWEN3, THINK, "hermes", "qwen3"),
        ("deepseek_v3", R1, DEEPSEEK, "deepseek_v3", "deepseek_r1"),
        ("deepseek_v3", V31, DEEPSEEK, "deepseek_v31", "deepseek_v3"),
        ("deepseek_v32", "", DEEPSEEK, "deepseek_v32", "deepseek_v3"),
        ("gpt_oss", "x", [], "openai", "openai_gptoss"),
        ("phi3", "<|tool|> <|/tool|>", [], "phi4_mini_json", None),
        ("phi3", "<|im_start|>", [], None, None),
        ("granite", "<|tool_call|>", ["<|tool_call|>"], "granite", None),
        ("granitemoehybrid", "<tool_call> </tool_call>", [], "granite4", None),
        ("glm4_moe", GLM, THINK, "glm45", "glm45"),
        ("glm4", "<|observation|>", [], None, None),
        (
            "kimi_k2",
            "<think>",
            ["<|tool_calls_section_begin|>", "<|tool_call_begin|>", *THINK],
            *("kimi_k2", "kimi_k2"),
        ),
        ("gemma3", "<start_of_turn>", [], None, None),
        ("gemma4", "x", ["<|tool_call>", "<|channel>"], "gemma4", "gemma4"),
        ("nemotron_h", f"{CODER} </think>", [], "qwen3_coder", "nemotron_v3"),
        ("never-heard-of", "x", [], None, None),
        ("never-heard-of", "<tool_call> </tool_call>", [], "hermes", None),
    ],
)
def test_a_model_gets_the_parsers_of_its_family(
    tmp_path: Path,
    model_type: str,
    template: str,
    tokens: list[str],
    tools: str | None,
    reasoning: str | None,
) -> None:
    found = family(tmp_path, model_type, template, *tokens)
    assert (found.tool_parser, found.reasoning_parser) == (tools, reasoning)


def test_without_the_token_there_is_no_parser(tmp_path: Path) -> None:
    assert family(tmp_path, "mistral", "x").tool_parser is None


def test_an_unknown_family_is_said(tmp_path: Path) -> None:
    assert "plain chat" in family(tmp_path, "never-heard-of", "x").details["tool_calls"]


def test_a_model_without_a_template_gets_the_plain_one(tmp_path: Path) -> None:
    found = family(tmp_path, "llama", "")
    assert found.flags == ["--chat-template", str(PLAIN_TEMPLATE)]
    assert "chat_template" in found.details


def test_a_template_in_the_tokenizer_s_config_counts(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "<tool_call>"}]
    for given in ("<tool_call> </tool_call>", [*named, {"name": "x", "template": "</tool_call>"}]):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": given}))
        assert family(tmp_path, "qwen2", "").tool_parser == "hermes"


def test_the_guide_takes_tools() -> None:
    assert family_of("llama", guide_folder()).tool_parser == "hermes"


def test_a_folder_without_a_tokenizer_changes_nothing(tmp_path: Path) -> None:
    assert family_of("llama", tmp_path) == Family()
