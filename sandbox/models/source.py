"""MODEL_ID to a model: built in, a folder on this machine, or a repository on Hugging Face."""

from __future__ import annotations

import json
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.models.guide import GUIDE_ID, guide_folder

# Also refused by the hub: "--" and "..", and names that end like a git address.
_HUB_ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?<!\.git)")
# A safetensors file is an 8 byte length, a JSON header of that length, and the tensors.
# Source: https://huggingface.co/docs/safetensors (the format's limit for a header is 100 MB).
_MAX_HEADER_BYTES = 100_000_000
# systemd's ProtectHome closes these two to the services, whatever their modes are.
_READABLE = (
    "Let the service's user read it and enter the folders above it; on a box the service never "
    "sees /home and /root."
)


@dataclass(frozen=True)
class LocalModel:
    """A model whose files are on this machine and were looked at."""

    model_id: str
    folder: Path
    # As in config.json, for example "llama".
    model_type: str
    builtin: bool = False


@dataclass(frozen=True)
class HubModel:
    """A repository on Hugging Face, of which nothing is known yet."""

    model_id: str
    revision: str | None


def resolve(model_id: str, revision: str | None = None) -> LocalModel | HubModel:
    """What MODEL_ID means. Raises ``SandboxError`` when it can mean nothing."""
    if model_id == GUIDE_ID:
        return check_folder(model_id, guide_folder(), builtin=True)
    if model_id.startswith("builtin:"):
        raise SandboxError(
            f"There is no built-in model {model_id!r}.", f"The only one is {GUIDE_ID}."
        )
    folder = named_folder(model_id)
    if folder:
        return check_folder(model_id, folder)
    if not _HUB_ID.fullmatch(model_id):
        raise SandboxError(
            f"MODEL_ID is {model_id!r}, which is neither a folder nor a Hugging Face id.",
            "Write it as owner/name, for example Qwen/Qwen3-0.6B, or give a folder's path.",
        )
    return HubModel(model_id, revision)


def named_folder(model_id: str) -> Path | None:
    """The folder that ``model_id`` means, whether it is there or not; None when it means none."""
    folder = Path(os.path.expanduser(model_id))
    is_path = model_id.startswith(("/", "./", "../", "~"))
    return folder if is_path or (model_id and folder.is_dir()) else None


def check_folder(model_id: str, folder: Path, *, builtin: bool = False) -> LocalModel:
    """The model in ``folder``, after a look at its files that costs no memory.

    Raises ``SandboxError`` for a folder that is missing or cannot be read, no config.json, no or
    broken safetensors files.
    """
    try:
        return _look_at(model_id, folder, builtin=builtin)
    except OSError as error:
        raise SandboxError(
            f"{error.filename or folder} cannot be read: {error.strerror}.", _READABLE
        ) from None


def _look_at(model_id: str, folder: Path, *, builtin: bool) -> LocalModel:
    if not folder.is_dir():
        raise SandboxError(
            f"The model folder {folder} does not exist.", "Correct MODEL_ID, or make the folder."
        )
    # Not by a pattern: that finds nothing in a folder that cannot be read.
    names = sorted(os.listdir(folder))
    config = _read_config(folder)
    files = [folder / name for name in names if name.endswith(".safetensors")]
    if not files:
        raise SandboxError(
            f"The model folder {folder} has no .safetensors file, so there are no weights to load.",
            "Convert the model to safetensors, or choose another.",
        )
    for file in files:
        check_safetensors(file)
    model_type = config.get("model_type")
    return LocalModel(model_id, folder.resolve(), str(model_type or ""), builtin)


def check_safetensors(file: Path) -> None:
    """Raise ``SandboxError`` unless ``file`` has a header and is as long as the header says.

    Raises ``OSError`` when it cannot be read.
    """
    again = "Copy or download the file again."
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            if not 0 < length <= min(_MAX_HEADER_BYTES, size - 8):
                raise SandboxError(
                    f"{file} is not a safetensors file: its header is broken.", again
                )
            header: dict[str, Any] = json.loads(stream.read(length))
        ends = [int(t["data_offsets"][1]) for name, t in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, LookupError, AttributeError):
        # No JSON, or JSON of another shape.
        raise SandboxError(
            f"{file} is not a safetensors file: its header is broken.", again
        ) from None
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise SandboxError(
            f"{file} is broken: it has {size:,} bytes, but its header says {expected:,}.", again
        )


def is_sound(file: Path) -> bool:
    """False for a safetensors file that is missing, unreadable, cut or overwritten at its start."""
    try:
        check_safetensors(file)
    except (SandboxError, OSError):
        return False
    return True


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    # Mistral's own format has another config, which vLLM reads too.
    params = folder / "params.json"
    if params.exists() and not file.exists():
        file = params
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SandboxError(
            f"The model folder {folder} has no config.json.",
            "Give the folder of a Hugging Face model: config.json, tokenizer, .safetensors files.",
        ) from None
    except ValueError as error:
        raise SandboxError(f"{file} is not JSON: {error}.", "Copy the file again.") from None
    if not isinstance(config, dict):
        raise SandboxError(f"{file} is not a JSON object.", "Copy the file again.")
    return config if file != params else {"model_type": "mistral", **config}
