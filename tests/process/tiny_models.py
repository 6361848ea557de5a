"""Models of other kinds than the guide, made on the spot: random weights, real shapes."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

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
