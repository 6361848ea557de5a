"""A model of real shape to measure with where there is no hub: `python -m tests.bench.made_model`.

``NAME FOLDER``: the architecture of NAME, one of the plan's well-known models with plain weights;
every weight is zero, in a sparse file that takes no room on the disk; a tokenizer of the usual
size, learned in a minute or two from the text of the installed packages. Every token is as likely
as any other, so that answers are noise, of real cost.
"""

from __future__ import annotations

import json
import struct
import sys
import sysconfig
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sandbox.models.plan import facts

_SPECIAL = ["<pad>", "<|start|>", "<|end|>", "<eos>"]
_TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
_LEARNED_FROM = (".py", ".md", ".rst", ".txt")
_CHARACTERS = 180_000_000
_BYTES = 2


def make(name: str, folder: Path) -> None:
    """Write the model ``name`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = facts.well_known()[name]["config"]
    (folder / "config.json").write_text(json.dumps(config))
    _write_weights(folder / "model.safetensors", _tensors(config))
    learn_tokenizer(config["vocab_size"]).save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<|start|>", "eos_token": "<eos>", "pad_token": "<pad>"}
    kind = {"tokenizer_class": "TokenizersBackend", "model_max_length": 10**6}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind | tokens))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    end = {"eos_token_id": _SPECIAL.index("<eos>")}
    (folder / "generation_config.json").write_text(json.dumps(end))


def learn_tokenizer(size: int) -> Tokenizer:
    """A tokenizer of at most ``size`` tokens, byte by byte where it knows no better."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=16,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _tensors(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The names and the shapes of the weights, as transformers has them."""
    given = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
    with torch.device("meta"):
        kind = CONFIG_MAPPING[config["model_type"]]
        model = AutoModelForCausalLM.from_config(kind(**given))  # type: ignore[no-untyped-call]
    tied = bool(model.config.tie_word_embeddings)
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }


def _write_weights(file: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        begin, end = end, end + _BYTES * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)


def _texts() -> Iterator[str]:
    left = _CHARACTERS
    for file in sorted(Path(sysconfig.get_path("purelib")).rglob("*")):
        if file.suffix in _LEARNED_FROM and file.is_file():
            text = file.read_text(errors="ignore")[:200_000]
            yield text
            left -= len(text)
            if left < 0:
                return


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
