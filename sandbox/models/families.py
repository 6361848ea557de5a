"""What follows from a model's family: the parsers for tool calls and thinking, a chat template.

vLLM does not start with a parser that the tokenizer does not bear, so a parser is chosen only
where the model's own files show its format; else the model serves plain chat.
"""

from __future__ import annotations

import functools
import json
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_ROWS = Path(__file__).with_name("families.toml")
# For models that were never taught to chat, so that the chat page works with them too.
PLAIN_TEMPLATE = Path(__file__).with_name("plain_chat.jinja")
# Where the tokens of a tokenizer stand: Hugging Face's format, its additions, Mistral's format.
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tekken.json")

_TEMPLATE_ELSEWHERE = ("tekken.json", "preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Family:
    """What the model can do beyond plain chat, by vLLM's names of parsers; None for nothing."""

    tool_parser: str | None = None
    reasoning_parser: str | None = None
    # False for a model that brings no chat template and gets the plain one.
    has_template: bool = True

    @property
    def flags(self) -> list[str]:
        """For ``vllm serve``."""
        found = []
        if self.tool_parser:
            found += ["--enable-auto-tool-choice", "--tool-call-parser", self.tool_parser]
        if self.reasoning_parser:
            found += ["--reasoning-parser", self.reasoning_parser]
        if not self.has_template:
            found += ["--chat-template", str(PLAIN_TEMPLATE)]
        return found

    @property
    def details(self) -> dict[str, str]:
        """For the status, in words where there is nothing."""
        found = {
            "tool_calls": self.tool_parser or "none: plain chat, its format for tools is unknown",
            "reasoning": self.reasoning_parser or "none",
        }
        if not self.has_template:
            found["chat_template"] = "a plain one, for the model has none of its own"
        return found


@functools.cache
def rows() -> dict[str, list[dict[str, Any]]]:
    """The table: ``tools`` and ``reasoning``, each a list of rows in order."""
    with _ROWS.open("rb") as stream:
        return tomllib.load(stream)


def family_of(model_type: str, folder: Path) -> Family:
    """The family of the model in ``folder``, by its tokenizer and its chat template."""
    tokens = "".join(_read(folder / name) for name in _TOKENIZERS)
    template = chat_template(folder)
    if not tokens:
        return Family()
    # Mistral's own tokenizers hold the template too; for models of images vLLM has some.
    has_template = bool(template) or any((folder / name).exists() for name in _TEMPLATE_ELSEWHERE)
    return Family(
        tool_parser=_match("tools", model_type, tokens, template),
        reasoning_parser=_match("reasoning", model_type, tokens, template),
        has_template=has_template,
    )


def chat_template(folder: Path) -> str:
    """Every chat template of the model, one after the other; empty for none."""
    found = [_read(file) for file in sorted(folder.glob("*.jinja"))]
    found += [_read(file) for file in sorted(folder.glob("additional_chat_templates/*.jinja"))]
    for name in ("tokenizer_config.json", "chat_template.json", "processor_config.json"):
        try:
            given = json.loads(_read(folder / name) or "{}").get("chat_template")
        except (ValueError, AttributeError):
            continue
        # One, or several with names.
        parts = given if isinstance(given, list) else [given]
        found += [
            str(p.get("template", "")) if isinstance(p, dict) else str(p or "") for p in parts
        ]
    return "\n".join(text for text in found if text)


def _match(kind: str, model_type: str, tokens: str, template: str) -> str | None:
    for row in rows()[kind]:
        if (
            any(fnmatchcase(model_type, pattern) for pattern in row["types"])
            and all(_has_token(tokens, token) for token in row.get("tokens", ()))
            and all(word in template for word in row.get("template", ()))
            and not any(word in template for word in row.get("without", ()))
        ):
            return str(row["parser"])
    return None


def _has_token(tokens: str, token: str) -> bool:
    """True for a token of its own: as a whole string of the JSON, escaped or not."""
    return f'"{token}"' in tokens or json.dumps(token) in tokens


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
