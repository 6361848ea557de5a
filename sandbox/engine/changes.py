"""What a change of the settings means while the service runs."""

from __future__ import annotations

from sandbox.settings import Loaded, Settings, read_env_file

# What vLLM loads, and how: another value means another engine.
_LOADED = (
    *("model_id", "model_revision", "served_model_name", "max_model_len"),
    *("tensor_parallel_size", "quantization", "gpu_memory_utilization", "vllm_extra_args"),
    "media_domains",
)
# With what it is found and fetched.
_FETCHED = ("hf_token", "hf_endpoint")
# What is settled when the process starts: sockets, folders, and libraries that were told.
_FIXED = (
    *("api_host", "api_port", "models_dir", "hf_hub_offline", "max_body_mb", "max_connections"),
    *("max_queued_requests", "max_queued_mb", "max_requests_per_client"),
)
_PAGE = ("ui_host", "ui_port", "ui_data_dir", "access")


def same_engine(old: Settings, new: Settings) -> bool:
    """True when a model loaded by ``old`` is as ``new`` wants it."""
    return not _changed(old, new, _LOADED)


def same_preparation(old: Settings, new: Settings) -> bool:
    """True when a preparation by ``old`` ends where one by ``new`` would."""
    return not _changed(old, new, _LOADED + _FETCHED)


def in_force(old: Settings, new: Settings) -> Settings:
    """``new`` with what only a restart can change as in ``old``."""
    return new.model_copy(update={name: getattr(old, name) for name in _FIXED})


def acknowledged(old: Settings, new: Settings) -> Settings:
    """``old`` with what reading the settings is enough for as in ``new``: not told again."""
    return old.model_copy(update={name: getattr(new, name) for name in (*_FETCHED, "api_key")})


def notices(old: Settings, loaded: Loaded) -> list[str]:
    """Sentences about what is not, or not only, done by reading the settings again."""
    new = loaded.settings
    said = []
    if names := _changed(old, new, _FIXED):
        said.append(
            f"{_listed(names)} changed, which takes a restart of the service (ai-sandbox-api)."
        )
    if names := _changed(old, new, _PAGE):
        said.append(
            f"{_listed(names)} changed, which takes a restart of the chat page (ai-sandbox-ui)."
        )
    if old.api_keys != new.api_keys:
        said.append("API_KEY changed: the API takes the new one from now on.")
    if names := _changed(old, new, _FETCHED):
        said.append(f"{_listed(names)} changed: used from the next download on.")
    if names := _overridden(loaded):
        said.append(
            f"{_listed(names)} of {loaded.env_file} is not in force: the environment of the "
            "service has another value, which wins until it is started without."
        )
    return said


def _changed(old: Settings, new: Settings, names: tuple[str, ...]) -> list[str]:
    return [name.upper() for name in names if getattr(old, name) != getattr(new, name)]


def _overridden(loaded: Loaded) -> list[str]:
    """Settings that the env file and the environment both have, with different values."""
    if not loaded.env_file:
        return []
    found = []
    for name, text in read_env_file(loaded.env_file).items():
        if text.value and loaded.origins[name] == "environment":
            now = getattr(loaded.settings, name.lower())
            now = now.get_secret_value() if hasattr(now, "get_secret_value") else now
            if str(now) != text.value:
                found.append(name)
    return found


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
