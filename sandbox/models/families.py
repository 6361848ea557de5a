"""What follows from a model's family: the parser that its tool calls need."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class _ToolCalls(NamedTuple):
    # vLLM's name for the parser.
    parser: str
    # A token without which the tokenizer is not of this family and vLLM refuses the parser.
    token: str


# By model_type of config.json. Open WebUI sends tools by default, and vLLM refuses them without
# a parser; a model that is not listed, or lacks the token, serves plain chat.
_FAMILIES = {
    "mistral": _ToolCalls("mistral", "[TOOL_CALLS]"),
    "llama": _ToolCalls("llama3_json", "<|python_tag|>"),
    "qwen2": _ToolCalls("hermes", "<tool_call>"),
    "qwen3": _ToolCalls("hermes", "<tool_call>"),
    "granite": _ToolCalls("granite", "<|tool_call|>"),
    # A Llama that was trained for the format of Hermes, as the built-in guide is.
    "llama+hermes": _ToolCalls("hermes", "<|im_start|>"),
}


def flags_of_family(model_type: str, folder: Path) -> list[str]:
    """The ``vllm serve`` flags for tool calls of the model in ``folder``, or none."""
    try:
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    for name in (model_type, f"{model_type}+hermes"):
        family = _FAMILIES.get(name)
        if family and f'"{family.token}"' in tokenizer:
            return ["--enable-auto-tool-choice", "--tool-call-parser", family.parser]
    return []
