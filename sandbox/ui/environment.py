"""The whole environment of Open WebUI, composed from our settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from sandbox.settings import Settings
from sandbox.ui import choices, credentials

# Everything else of our own environment stays out: hundreds of names change Open WebUI.
INHERITED = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
)  # fmt: skip

# Never a host's name: an allow-list of it alone means that the server fetches nothing.
NO_HOST = "web-fetch-is-off.invalid"

OFF_WHEN_OPEN = (
    # Python of a visitor's in the server: functions, tools, and what they would install.
    "ENABLE_PLUGINS", "ENABLE_TOOLS", "ENABLE_FUNCTIONS",
    "ENABLE_CODE_EXECUTION", "ENABLE_CODE_INTERPRETER", "ENABLE_AUTOMATIONS", "ENABLE_SUBAGENTS",
    # Requests that the server would make for a visitor.
    "ENABLE_TOOL_SERVERS", "ENABLE_DIRECT_CONNECTIONS", "ENABLE_DIRECT_INTEGRATIONS",
    "ENABLE_WEB_SEARCH", "ENABLE_IMAGE_GENERATION", "ENABLE_IMAGE_EDIT",
    "AUDIO_REALTIME_ENABLED", "ENABLE_USER_WEBHOOKS",
    "USER_PERMISSIONS_CHAT_WEB_UPLOAD", "USER_PERMISSIONS_CHAT_CALL",
    # Other ways in, and out with everything.
    "ENABLE_API_KEYS", "ENABLE_LDAP", "ENABLE_OAUTH", "ENABLE_ADMIN_EXPORT",
    "SHOW_ADMIN_DETAILS",
)  # fmt: skip


def compose(settings: Settings) -> dict[str, str]:
    """All that ``open-webui serve`` is started with; makes the secrets in ``ui_data_dir``.

    ``ui_data_dir`` exists already. Raises ``SandboxError`` when a secret cannot be read or made.
    """
    data = settings.ui_data_dir
    return {
        **_inherited(os.environ, choices.api_url(settings)),
        # Libraries write below the data folder: the package's folder may be read-only.
        "HOME": str(data / "home"),
        "HF_HOME": str(data / "home/huggingface"),
        # Lines reach the journal when they are written.
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "SCARF_NO_ANALYTICS": "1",
        "DATA_DIR": str(data),
        "STATIC_DIR": str(data / "static"),
        # A chat that was shown as saved survives a power cut.
        "DATABASE_SQLITE_PRAGMA_SYNCHRONOUS": "FULL",
        # No /docs, no /openapi.json.
        "ENV": "prod",
        "FORWARDED_ALLOW_IPS": "127.0.0.1",
        "ENABLE_VERSION_UPDATE_CHECK": "False",
        "ENABLE_OPENAI_API_PASSTHROUGH": "False",
        "OPENAI_API_BASE_URLS": choices.api_url(settings),
        "OPENAI_API_KEYS": credentials.api_key(data),
        # Set, or Open WebUI looks for Ollama's ports at every start.
        "OLLAMA_BASE_URLS": "http://127.0.0.1:11434",
        "WEBUI_BANNERS": json.dumps(choices.banners(settings)),
        # No embedding model is downloaded at start: files go into the prompt whole.
        "RAG_EMBEDDING_MODEL": "",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
        # They need one.
        "ENABLE_MEMORIES": "False",
        "ENABLE_PIP_INSTALL_FRONTMATTER_REQUIREMENTS": "False",
        "WEBUI_SECRET_KEY": credentials.secret_key(data),
        # In both modes: should the accounts be lost, no visitor becomes the first administrator.
        "WEBUI_ADMIN_EMAIL": credentials.ADMIN_EMAIL,
        "WEBUI_ADMIN_PASSWORD": credentials.admin_password(data),
        **{choice.variable: choice.text for choice in choices.choices(settings)},
        **(_open() if settings.access == "open" else {"WEBUI_AUTH": "True"}),
    }


def _inherited(environment: Mapping[str, str], url: str) -> dict[str, str]:
    kept = {name: environment[name] for name in INHERITED if environment.get(name)}
    # Names that Open WebUI does not know; they tell whose a process is.
    kept |= {name: text for name, text in environment.items() if name.startswith("AI_SANDBOX_")}
    # Our API is reached directly, whatever the proxy.
    host = url.split("//", 1)[1].rsplit(":", 1)[0].strip("[]")
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    direct = ",".join(dict.fromkeys([*filter(None, given.split(",")), host, "127.0.0.1"]))
    return kept | {"no_proxy": direct, "NO_PROXY": direct}


def _open() -> dict[str, str]:
    """What is off while there is no login.

    The database's own configuration is not read (ENABLE_PERSISTENT_CONFIG), so nothing that was
    switched on behind a login is on here; it is back when the login is.
    """
    return {
        "WEBUI_AUTH": "False",
        "ENABLE_PERSISTENT_CONFIG": "False",
        # Visitors are no administrators (see accounts), so nobody could give them the model.
        "BYPASS_MODEL_ACCESS_CONTROL": "True",
        # The shared account's password is known. A pattern that nothing matches keeps anyone
        # from changing it, which would lock everybody out.
        "ENABLE_PASSWORD_VALIDATION": "True",
        "PASSWORD_VALIDATION_REGEX_PATTERN": "(?!)",
        "PASSWORD_VALIDATION_HINT": "The page is open: there is no password to change.",
        "WEB_FETCH_FILTER_LIST": NO_HOST,
        # Speech is the browser's work: the server would download a model for it.
        "AUDIO_STT_ENGINE": "web",
        "RAG_FILE_MAX_SIZE": "50",
        "RAG_FILE_MAX_COUNT": "10",
        **dict.fromkeys(OFF_WHEN_OPEN, "False"),
    }
