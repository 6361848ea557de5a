"""Fills in the sizes of models/plan/data/well_known.json from the configs that stand there.

``python -m sandbox.engine.known_models``, a part of ``make reference``: Transformers builds each
model without memory (on PyTorch's meta device), and quantized tensors are counted as their formats
store them.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

from sandbox.models.plan import facts, shape
from sandbox.models.plan.weights import Tensor, measure

FILE = facts.DATA / "well_known.json"


def sizes(config: dict[str, Any]) -> dict[str, int]:
    """The fields of ``Weights`` for a model with this config.json."""
    read = shape.read(config)
    return dataclasses.asdict(measure(list(_tensors(config, read)), read))


def _tensors(config: dict[str, Any], read: shape.Shape) -> Iterator[Tensor]:
    """The tensors that the repository's files hold."""
    # Imported here: seconds, and only for this.
    import torch
    import transformers

    plain = {k: v for k, v in config.items() if k != "quantization_config"}
    made = transformers.CONFIG_MAPPING[config["model_type"]](**plain)
    # The class by the name in the config: the checkpoint has what this class has.
    architecture = getattr(transformers, read.architecture)
    with torch.device("meta"):
        model = architecture(made)
    for name, tensor in model.named_parameters():
        size = tuple(tensor.shape)
        if read.quantization == "mxfp4" and ".experts." in name and len(size) == 3:
            yield from _mxfp4(name, size)
        elif len(size) == 2 and ".layers." in name and read.quantization in ("awq", "fp8"):
            yield from (_awq if read.quantization == "awq" else _fp8)(name, size)
        else:
            yield Tensor(name, "BF16", size)


def _awq(name: str, size: tuple[int, ...]) -> Iterator[Tensor]:
    """4 bits a weight, eight in a number; for 128 rows a scale and a zero point each."""
    stem, (columns, rows) = name.removesuffix("weight"), size
    yield Tensor(f"{stem}qweight", "I32", (rows, columns // 8))
    yield Tensor(f"{stem}qzeros", "I32", (rows // 128, columns // 8))
    yield Tensor(f"{stem}scales", "F16", (rows // 128, columns))


def _fp8(name: str, size: tuple[int, ...]) -> Iterator[Tensor]:
    """8 bits a weight, and a scale for a block of 128 x 128."""
    yield Tensor(name, "F8_E4M3", size)
    yield Tensor(f"{name}_scale_inv", "BF16", tuple(-(-side // 128) for side in size))


def _mxfp4(name: str, size: tuple[int, ...]) -> Iterator[Tensor]:
    """4 bits a weight, two in a byte, and a byte of scale for 32 of them."""
    experts, rows, columns = size
    yield Tensor(f"{name}_blocks", "U8", (experts, rows, columns // 32, 16))
    yield Tensor(f"{name}_scales", "U8", (experts, rows, columns // 32))


def text() -> str:
    """The file's content, one model a paragraph."""
    rows = []
    for name, entry in json.loads(FILE.read_text(encoding="utf-8")).items():
        config = entry["config"]
        filled = {"config": config, "weights": sizes(config)}
        parts = ",\n  ".join(f'"{key}": {json.dumps(value)}' for key, value in filled.items())
        rows.append(f"{json.dumps(name)}: {{\n  {parts}\n}}")
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main() -> int:
    """Write the file."""
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
