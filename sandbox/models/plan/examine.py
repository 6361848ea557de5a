"""A folder or a repository to what planning needs of it: config, sizes, and what is wrong.

Reads config.json and the headers of the weights; of a repository, by requests for these bytes
alone. Nothing is written.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.models.plan import shape as shapes
from sandbox.models.plan.errors import UnplannableError
from sandbox.models.plan.shape import Shape
from sandbox.models.plan.weights import Tensor, Weights, main_dtype, measure

INDEX = "model.safetensors.index.json"
_ARRAY_FILES = (".gguf", ".bin", ".pth", ".pt")


@dataclass(frozen=True)
class Candidate:
    """A model that was looked at."""

    model: str
    shape: Shape
    weights: Weights
    # What has to be downloaded; 0 for a folder of this machine.
    download_bytes: int = 0
    # The built-in guide, whose needs are known to be tiny.
    builtin: bool = False


def examine_folder(model: str, folder: Path, *, builtin: bool = False) -> Candidate:
    """The model whose files lie in ``folder``. Raises ``SandboxError`` when it cannot be read."""
    names = sorted(file.name for file in folder.glob("*") if file.is_file())
    if "config.json" not in names:
        raise UnplannableError(f"{model} has no config.json.", "Choose another model.")
    files = weight_files(model, names, _json(folder / INDEX) if INDEX in names else None)
    tensors = [tensor for name in files for tensor in _header_of(folder / name)]
    config = _json(folder / "config.json")
    return replace(assemble(model, config, tensors), builtin=builtin)


def assemble(model: str, config: Any, tensors: list[Tensor]) -> Candidate:
    """A candidate of what its files say. Raises ``UnplannableError`` when they say too little."""
    try:
        shape = shapes.read(config, main_dtype(tensors))
        weights = measure(tensors, shape)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # Of the last four, whatever a config of an unheard of form leads to.
        raise UnplannableError(
            f"{model} cannot be planned: {error}.", "Choose another model."
        ) from None
    return Candidate(model, shape, weights)


def weight_files(model: str, names: Iterable[str], index: Any) -> list[str]:
    """The files of weights among ``names`` that vLLM loads: each weight once.

    Raises ``SandboxError`` when there are none, with the format that is there in its place.
    """
    names = list(names)
    found = [n for n in names if n.endswith(".safetensors") and "/" not in n]
    own = [n for n in found if not n.startswith("consolidated")]
    if isinstance(index, dict) and isinstance(index.get("weight_map"), dict):
        listed = set(index["weight_map"].values())
        own = [n for n in own if n in listed] or own
    if own or found:
        return own or found
    if any(n.endswith(".gguf") for n in names):
        raise SandboxError(
            f"{model} has its weights only as GGUF, which vLLM does not load.",
            "Choose the repository that it was made from; most have .safetensors files.",
        )
    other = sorted({Path(n).suffix for n in names if n.endswith(_ARRAY_FILES)})
    instead = f", only {', '.join(other)} files, which can run code when loaded" if other else ""
    raise SandboxError(
        f"{model} has no .safetensors weights{instead}.",
        "Choose a repository with .safetensors files; most models have one.",
    )


def tensors_of(header: Mapping[str, Any]) -> list[Tensor]:
    """The entries of a header. Raises ``ValueError`` when it is of another form."""
    try:
        return [
            Tensor(name, str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no header of safetensors: {error!r}") from None


def _header_of(file: Path) -> list[Tensor]:
    try:
        with file.open("rb") as stream:
            length = struct.unpack("<Q", stream.read(8))[0]
            return tensors_of(json.loads(stream.read(length)))
    except OSError as error:
        raise SandboxError(
            f"{file} cannot be read: {error.strerror}.", "Let the service's user read it."
        ) from None
    except (ValueError, struct.error, MemoryError, OverflowError):
        raise SandboxError(
            f"{file} is not a safetensors file: its header is broken.",
            "Copy or download the file again.",
        ) from None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SandboxError(
            f"{file} cannot be read: {error.strerror}.", "Let the service's user read it."
        ) from None
    except ValueError as error:
        raise SandboxError(f"{file} is not JSON: {error}.", "Copy the file again.") from None
