"""Models of other kinds than the guide, made on the spot: random weights, real shapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

_SMALL: dict[str, Any] = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
}
# Text models of different architectures, by what is special about each.
TEXT_MODELS: dict[str, dict[str, Any]] = {
    "every head for itself": {"model_type": "llama", "tie_word_embeddings": False},
    "grouped queries": {"model_type": "llama", "num_key_value_heads": 2, "head_dim": 64},
    "tied embeddings": {
        "model_type": "qwen3",
        "num_key_value_heads": 4,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "a sliding window": {"model_type": "mistral", "num_key_value_heads": 4, "sliding_window": 512},
    "every second layer slides": {
        "model_type": "gemma2",
        "num_key_value_heads": 4,
        "head_dim": 64,
        "sliding_window": 512,
    },
    "five of six layers slide": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "sliding_window": 256,
    },
    "latent attention and experts": {
        "model_type": "deepseek_v2",
        "num_key_value_heads": 8,
        "kv_lora_rank": 512,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "moe_intermediate_size": 128,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "topk_method": "greedy",
        "n_group": 1,
        "topk_group": 1,
    },
    "experts": {"model_type": "mixtral", "num_key_value_heads": 4, "num_local_experts": 4},
    "32 bits": {"model_type": "qwen2", "num_key_value_heads": 4, "dtype": "float32"},
    "4 bits": {"model_type": "qwen2", "num_key_value_heads": 4, "dtype": "float16"},
}


def make_text_model(folder: Path, name: str, tokenizer: Path) -> None:
    """One of TEXT_MODELS, with random weights and the tokenizer that lies in ``tokenizer``."""
    given = {**_SMALL, **TEXT_MODELS[name]}
    dtype = str(given.pop("dtype", "bfloat16"))
    config = CONFIG_MAPPING[given.pop("model_type")](**given)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / file, folder / file)
    if name == "4 bits":
        _quantize(folder)


def _quantize(folder: Path) -> None:
    """Put tensors in the form of AWQ, with random content, in place of the matrices of layers."""
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if ".layers." not in name or tensor.dim() != 2:
            tensors[name] = tensor
            continue
        stem, (columns, rows) = name.removesuffix("weight"), tensor.shape
        packed = {"qweight": (rows, columns // 8), "qzeros": (rows // 128, columns // 8)}
        for part, size in packed.items():
            tensors[stem + part] = torch.randint(0, 2**31 - 1, size, dtype=torch.int32)
        tensors[f"{stem}scales"] = torch.full((rows // 128, columns), 0.001, dtype=torch.float16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    method = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    method |= {"version": "gemm"}
    config = json.loads(file.read_text()) | {"quantization_config": method}
    file.write_text(json.dumps(config))


_TEMPLATE = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}"
    "{% endif %}<end_of_utterance>{% endfor %}"
)
_SPECIAL = [
    *("<pad>", "<eos>", "<bos>", "<image>", "<fake_token_around_image>", "<end_of_utterance>"),
    *("<global-img>", *(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7))),
]
_PIXELS = 56


def make_vision_model(folder: Path) -> None:
    """An Idefics3 of a few hundred thousand parameters: 4 tokens for an image of 56 x 56."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *letters])}
    bytewise = Tokenizer(models.BPE(vocabulary, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.add_special_tokens(_SPECIAL)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bytewise, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    side = {"longest_edge": _PIXELS}
    pixels = Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    Idefics3Processor(pixels, tokenizer, image_seq_len=4, chat_template=_TEMPLATE).save_pretrained(
        folder
    )
    config = Idefics3Config(
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": _PIXELS,
            "patch_size": 14,
        },
        text_config=LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=128,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
            pad_token_id=0,
        ),
        image_token_id=vocabulary["<image>"],
        scale_factor=2,
    )
    model = Idefics3ForConditionalGeneration(config)  # type: ignore[no-untyped-call]
    model.bfloat16().save_pretrained(folder)
