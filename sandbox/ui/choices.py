"""What we decide in Open WebUI's own configuration: each choice once, for environment and database.

With a login, Open WebUI reads a variable only until the same choice is a row in its database:
``environment`` sets the first, ``database`` keeps the second true.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.paths import PACKAGE
from sandbox.settings import CPU_DEFAULT_MODEL, Settings

GUIDE_SUGGESTIONS = PACKAGE / "models/guide/suggestions.json"
SUGGESTIONS = [
    {"title": ["Explain", "how a large language model works"],
     "content": "Explain in simple words how a large language model works."},
    {"title": ["Write", "a friendly e-mail"],
     "content": "Write a short, friendly e-mail that moves a meeting to next week."},
    {"title": ["Show me", "a Python script"],
     "content": "Show me a Python script that lists the ten largest files below a folder."},
    {"title": ["Help me decide", "with pros and cons"],
     "content": "What are the pros and cons of running a language model on my own machine?"},
]  # fmt: skip

BANNER_ID = "ai-sandbox-open"
BANNER_TEXT = (
    "**This page is open:** no login. Everyone who can reach it shares one account and sees, "
    "changes and deletes the same chats. Guard its port with a firewall, or run "
    "`ai-sandbox protect`."
)


@dataclass(frozen=True)
class Choice:
    """``variable`` of the environment and ``key`` of the table ``config`` for one ``value``.

    Written when our value is new; after that it is for the administrator to change. With
    ``always`` it is written at every start; with ``leaves`` the value is an object of which only
    the leaves named here are ours.
    """

    variable: str
    key: str
    value: Any
    always: bool = False
    leaves: bool = False

    @property
    def text(self) -> str:
        """The value as Open WebUI parses it from an environment variable."""
        if isinstance(self.value, list | dict):
            return json.dumps(self.value)
        return str(self.value)


def choices(settings: Settings) -> list[Choice]:
    """Every choice for these settings, except the connection to our API (``api_url``)."""
    return [
        Choice("ENABLE_OPENAI_API", "openai.enable", True, always=True),
        Choice("ENABLE_OLLAMA_API", "ollama.enable", False),
        Choice("DEFAULT_MODELS", "ui.default_models", settings.served_name),
        Choice("DEFAULT_PROMPT_SUGGESTIONS", "ui.prompt_suggestions", suggestions(settings)),
        Choice(
            "DEFAULT_INTERFACE_SETTINGS",
            "ui.default_interface_settings",
            {"showChangelog": False},
            leaves=True,
        ),
        Choice("ENABLE_COMMUNITY_SHARING", "ui.enable_community_sharing", False),
        Choice("ENABLE_SIGNUP", "ui.enable_signup", False),
        *_task_choices(settings),
    ]


def serves_guide(settings: Settings) -> bool:
    """True when the served model is the built-in one, which only answers its own questions."""
    return settings.model_id == CPU_DEFAULT_MODEL


def suggestions(settings: Settings, file: Path = GUIDE_SUGGESTIONS) -> list[dict[str, Any]]:
    """The questions offered in an empty chat: ones that the served model can answer."""
    if not serves_guide(settings):
        return SUGGESTIONS
    listed: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return listed


def banners(settings: Settings) -> list[dict[str, Any]]:
    """Our banners: the warning in open mode, otherwise none."""
    if settings.access != "open":
        return []
    return [
        {
            "id": BANNER_ID,
            "type": "warning",
            "title": "",
            "content": BANNER_TEXT,
            "dismissible": True,
            "timestamp": 0,
        }
    ]


def api_url(settings: Settings) -> str:
    """Where Open WebUI, on this machine, finds our API."""
    host = settings.api_host
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}/v1"


def _task_choices(settings: Settings) -> list[Choice]:
    # Side jobs that Open WebUI gives the model. The guide model would answer them with nonsense.
    wanted = not serves_guide(settings)
    return [
        Choice("ENABLE_TITLE_GENERATION", "task.title.enable", wanted),
        Choice("ENABLE_TAGS_GENERATION", "task.tags.enable", wanted),
        Choice("ENABLE_FOLLOW_UP_GENERATION", "task.follow_up.enable", wanted),
        Choice("ENABLE_SEARCH_QUERY_GENERATION", "task.query.search.enable", wanted),
        Choice("ENABLE_RETRIEVAL_QUERY_GENERATION", "task.query.retrieval.enable", wanted),
        # A request per key stroke is too dear for any model here.
        Choice("ENABLE_AUTOCOMPLETE_GENERATION", "task.autocomplete.enable", False),
    ]
