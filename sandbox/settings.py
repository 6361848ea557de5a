"""Every setting: name, type, default and one line of documentation; the only env file reader."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sandbox.errors import ConfigError
from sandbox.host import hardware
from sandbox.paths import Paths

GPU_DEFAULT_MODEL = "mistralai/Mistral-7B-Instruct-v0.3"
CPU_DEFAULT_MODEL = "builtin:guide"

Auto = Literal["auto"]
HOSTS = r"^([A-Za-z0-9][A-Za-z0-9.-]*( *, *|$))*$"
Port = Annotated[int, Field(ge=1, le=65535)]


def _setting(default: Any, doc: str, *, rule: str, example: str, shown_default: str = "") -> Any:
    """A field with what people read about it: its line of doc, its rule, an example value."""
    return Field(
        default,
        description=doc,
        json_schema_extra={"rule": rule, "example": example, "default": shown_default},
    )


class Settings(BaseSettings):
    """The settings in force. Made by ``load``; the order is that of the reference page."""

    model_config = SettingsConfigDict(
        alias_generator=str.upper,
        case_sensitive=True,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    model_id: str = _setting(
        CPU_DEFAULT_MODEL,
        "The model to serve: any Hugging Face id, a folder, or `builtin:guide`.",
        rule="a Hugging Face id (owner/name), a folder, or builtin:guide",
        example=GPU_DEFAULT_MODEL,
        shown_default=f"`{GPU_DEFAULT_MODEL}` with a GPU, `{CPU_DEFAULT_MODEL}` without",
    )
    model_revision: str | None = _setting(
        None,
        "The commit, tag or branch of the model repository; empty means its main branch.",
        rule="a commit, a tag or a branch",
        example="main",
    )
    hf_token: SecretStr | None = _setting(
        None,
        "Your Hugging Face token, for gated or private models. Never shown.",
        rule="a token from your Hugging Face account",
        example="hf_...",
    )
    hf_endpoint: str = _setting(
        "https://huggingface.co",
        "Where models are downloaded from: Hugging Face, or a mirror of it.",
        rule="an address that begins with https:// or http://",
        example="https://hub.example.org",
    )
    hf_hub_offline: bool = _setting(
        False,
        "`true` asks Hugging Face for nothing and serves only what is in MODELS_DIR.",
        rule="true or false",
        example="true",
        shown_default="`false`",
    )
    served_model_name: str | None = _setting(
        None,
        "The model's name in the API and in the chat page; empty means MODEL_ID.",
        rule="a name",
        example="my-model",
    )
    max_model_len: Auto | Annotated[int, Field(ge=1)] = _setting(
        "auto",
        "The context length in tokens; `auto` takes the longest that fits this machine.",
        rule="auto or a whole number of tokens from 1",
        example="8192",
    )
    tensor_parallel_size: Auto | Annotated[int, Field(ge=1)] = _setting(
        "auto",
        "Over how many GPUs the model is split; `auto` takes as many as its context needs.",
        rule="auto or a whole number from 1",
        example="2",
    )
    quantization: str = _setting(
        "auto",
        "How weights are quantized while they load, by vLLM's name; `auto` does it when it must.",
        rule="auto or a quantization method of vLLM",
        example="fp8_per_tensor",
    )
    gpu_memory_utilization: Auto | Annotated[float, Field(gt=0, le=1)] = _setting(
        "auto",
        "The part of each GPU's memory that vLLM may take; `auto` means vLLM's own, 0.92.",
        rule="auto or a number above 0 and at most 1",
        example="0.90",
    )
    vllm_extra_args: str = _setting(
        "",
        "More `vllm serve` flags, split as a shell splits words; they win over everything else.",
        rule="flags of vllm serve",
        example="--max-num-seqs 64",
    )
    api_host: str = _setting(
        "0.0.0.0",
        "The address the API listens on; 127.0.0.1 keeps it to this machine.",
        rule="an address of this machine",
        example="127.0.0.1",
    )
    api_port: Port = _setting(
        8000, "The API's port.", rule="a whole number from 1 to 65535", example="8000"
    )
    ui_host: str = _setting(
        "0.0.0.0",
        "The address the chat page listens on; 127.0.0.1 keeps it to this machine.",
        rule="an address of this machine",
        example="127.0.0.1",
    )
    ui_port: Port = _setting(
        3000, "The chat page's port.", rule="a whole number from 1 to 65535", example="3000"
    )
    access: Literal["open", "protected"] = _setting(
        "open",
        "`open`: no key and no login, guard the ports with a firewall. "
        "`protected`: the API wants a key, the chat page a login; `ai-sandbox protect` sets it.",
        rule="open or protected",
        example="protected",
    )
    api_key: SecretStr | None = _setting(
        None,
        "A key of the API; several are separated by commas. Set means required. Never shown. "
        "Better: `ai-sandbox keys add NAME`, which keeps only a hash.",
        rule="one or more keys of at least 8 characters, separated by commas",
        example="sk-...",
    )
    media_domains: Annotated[str, Field(pattern=HOSTS)] = _setting(
        "",
        "Hosts from which the model may fetch images and other media that a request names by "
        "address; empty: none, media come inside the request (`data:`).",
        rule="names of hosts, separated by commas",
        example="images.example.org",
    )
    max_body_mb: Annotated[int, Field(ge=1, le=1024)] = _setting(
        32,
        "The largest request to the API, in MB.",
        rule="a whole number from 1 to 1024",
        example="64",
    )
    max_connections: Annotated[int, Field(ge=16, le=1_000_000)] = _setting(
        8192,
        "How many connections to the API there may be; one address may have half of them.",
        rule="a whole number from 16 to 1000000",
        example="20000",
    )
    max_queued_requests: Annotated[int, Field(ge=1, le=1_000_000)] = _setting(
        1024,
        "How many requests may wait for the model; more get 503 with `Retry-After`.",
        rule="a whole number from 1 to 1000000",
        example="200",
    )
    max_queued_mb: Annotated[int, Field(ge=1, le=1_000_000)] = _setting(
        512,
        "How many MB of requests may come in or wait, at least two of the largest; more get 503.",
        rule="a whole number from 1 to 1000000",
        example="2048",
    )
    max_requests_per_client: Auto | Annotated[int, Field(ge=1)] = _setting(
        "auto",
        "On how many requests of one client (a key; without keys, an address) the model works at "
        "once; `auto`: three quarters of what it can.",
        rule="auto or a whole number from 1",
        example="16",
    )
    models_dir: Path = _setting(
        Path("/opt/models"),
        "Where downloaded models are kept.",
        rule="a folder",
        example="/opt/models",
        shown_default="`/opt/models`; `data/models` in a clone",
    )
    ui_data_dir: Path = _setting(
        Path("/opt/open-webui"),
        "Where chats, uploads and accounts of the chat page are kept.",
        rule="a folder",
        example="/opt/open-webui",
        shown_default="`/opt/open-webui`; `data/open-webui` in a clone",
    )

    @field_validator("api_key")
    @classmethod
    def _keys_are_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            keys = split_keys(value)
            if not keys or any(len(key) < 8 for key in keys):
                raise ValueError("too short")
        return value

    @field_validator("hf_endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value):
            raise ValueError("no address")
        return value.rstrip("/")

    @field_validator("models_dir", "ui_data_dir")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError("no such user") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # ``load`` reads the environment and the env file, and passes what they say.
        return (init_settings,)

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The accepted API keys; empty means that none is asked for."""
        return split_keys(self.api_key) if self.api_key else ()

    @property
    def served_name(self) -> str:
        """The model's name in the API."""
        return self.served_model_name or self.model_id


def split_keys(value: SecretStr) -> tuple[str, ...]:
    """The single keys of a comma-separated API_KEY."""
    return tuple(k.strip() for k in value.get_secret_value().split(",") if k.strip())


NAMES: tuple[str, ...] = tuple(name.upper() for name in Settings.model_fields)
SECRETS = frozenset({"HF_TOKEN", "API_KEY"})


class FileValue(NamedTuple):
    """One assignment of the env file."""

    value: str
    line: int


@dataclass(frozen=True)
class Loaded:
    """Settings with the place each value came from."""

    settings: Settings
    # NAME -> "environment", "FILE line N" or "default"
    origins: dict[str, str]
    env_file: Path | None
    # The hashes of the named API keys; it may not exist.
    keys_file: Path


def load(
    paths: Paths | None = None,
    env_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """Read the settings: ``environ`` wins over the env file, the file over defaults.

    ``env_file`` given by name must exist; the default one may be absent.
    Raises ``ConfigError`` that names every wrong setting.
    """
    paths = paths or Paths.here()
    file = env_file or paths.env_file
    values = read_env_file(file) if env_file or file.exists() else {}
    origins = {name: "default" for name in NAMES}
    origins |= {name: f"{file} line {v.line}" for name, v in values.items() if v.value}
    from_environment = {name: environ[name] for name in NAMES if environ.get(name)}
    origins |= dict.fromkeys(from_environment, "environment")
    given: dict[str, Any] = {
        "MODEL_ID": default_model(paths.is_clone),
        "MODELS_DIR": paths.models_dir,
        "UI_DATA_DIR": paths.ui_data_dir,
    }
    typed = {name: v.value for name, v in values.items() if v.value} | from_environment
    try:
        settings = Settings(**given | typed)
    except ValidationError as error:
        raise ConfigError(*_explain(error, origins, typed)) from None
    _check_together(settings)
    used = file if env_file or file.exists() else None
    return Loaded(settings, origins, used, keys_file(file))


def keys_file(env_file: Path) -> Path:
    """Where the named API keys of ``env_file`` are: beside it."""
    return env_file.with_suffix(".keys")


def default_model(is_clone: bool, root: Path = Path("/")) -> str:
    """The model of this machine when nobody chose one.

    On a box the card decides: its driver is loaded by a step of the installation, before and after
    which the default must be the same. In a clone nobody loads a driver.
    """
    has_gpu = hardware.has_nvidia_gpu(root) or (not is_clone and hardware.has_nvidia_card(root))
    return GPU_DEFAULT_MODEL if has_gpu else CPU_DEFAULT_MODEL


def read_env_file(file: Path) -> dict[str, FileValue]:
    """The assignments in ``file``. Values are data: nothing is expanded or executed.

    Raises ``ConfigError`` for an unreadable file, a line that is no assignment, an unknown name.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        raise ConfigError(
            f"The env file {file} does not exist.", "Make it, or name another with --env-file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"The env file {file} cannot be read: {reason}.",
            "Let the service's user read it, or name another with --env-file.",
        ) from None
    values: dict[str, FileValue] = {}
    for binding in bindings:
        # The parser counts from the end of the last line: leading blank lines belong to it.
        text = binding.original.string
        line = binding.original.line + len(text) - len(text.lstrip("\r\n"))
        if binding.error or (binding.key is not None and binding.value is None):
            # The line itself is not shown: it may hold a secret.
            raise ConfigError(
                f"{file} line {line} is not an assignment.",
                "Write NAME=value, and put quotes around a value with quotes or # in it.",
            )
        if binding.key is None:
            continue
        check_name(binding.key, f"{file} line {line}")
        values[binding.key] = FileValue(binding.value or "", line)
    return values


def check_name(name: str, where: str) -> None:
    """Raise ``ConfigError`` with a suggestion when ``name`` is no setting."""
    if name in NAMES:
        return
    close = difflib.get_close_matches(name.upper(), NAMES, n=1, cutoff=0.6)
    hint = f"Did you mean {close[0]}?" if close else f"The settings are: {', '.join(NAMES)}."
    raise ConfigError(f"{name} ({where}) is not a setting.", hint)


def metadata(name: str) -> dict[str, str]:
    """What people read about the setting ``name``: doc, rule, example, default."""
    field = Settings.model_fields[name.lower()]
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    default = str(extra["default"]) or ("" if field.default in (None, "") else f"`{field.default}`")
    return {
        "doc": field.description or "",
        "rule": str(extra["rule"]),
        "example": str(extra["example"]),
        "default": default,
    }


def _explain(
    error: ValidationError, origins: dict[str, str], typed: dict[str, str]
) -> tuple[str, str]:
    names = list(dict.fromkeys(str(e["loc"][0]) for e in error.errors()))
    lines = []
    for name in names:
        shown = "a secret that is not shown" if name in SECRETS else repr(typed.get(name, ""))
        rule = metadata(name)["rule"]
        lines.append(f"{name} is {shown} ({origins[name]}); it must be {rule}.")
    return "\n".join(lines), f"Set for example {names[0]}={metadata(names[0])['example']}"


def _check_together(settings: Settings) -> None:
    if settings.api_port == settings.ui_port:
        raise ConfigError(
            f"API_PORT and UI_PORT are both {settings.api_port}; each needs a port of its own.",
            "Change one of them.",
        )
