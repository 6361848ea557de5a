"""Headers of safetensors files to the memory that vLLM takes for the weights."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.models.plan.shape import Shape

# Bits of the data types of the format. Source: https://huggingface.co/docs/safetensors
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_EMBEDDING = re.compile(r"(embed_tokens|word_embeddings|wte|embed_in|lm_head|embed_out)\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
# Of which vLLM makes no parameter: recomputed, or for training and other runtimes.
_UNUSED = re.compile(r"rotary_emb\.|\.masked_bias$|^mtp\.|\.attn\.bias$|_extra_state$")
_IMAGES_AND_SOUND = re.compile(r"vision|visual|audio|image|multi_modal|mm_|speech")
_SCALES = re.compile(r"scale|zero|g_idx|weight_shape|_bias_correction")
_ROUTER = re.compile(r"(gate|router|shared_expert_gate)\.weight$")
# Bits of a weight after the methods of vLLM whose names contain this (``fp8_per_tensor``);
# 4 bit ones have a scale of 8 bits for 16 or 32 weights.
_ONLINE_BITS = (("nvfp4", 4.5), ("mxfp4", 4.25), ("mxfp8", 8.25), ("fp8", 8.0), ("int8", 8.0))
# vLLM rounds the vocabulary up to it (DEFAULT_VOCAB_PADDING_SIZE).
_VOCABULARY_STEP = 64
# The kernels for MXFP4 pad both sides of an expert's matrices, 2880 to 3072 and to 2944 for
# gpt-oss (round_up to 256 and to 128): 9% more than the file has.
_MXFP4_PADDING = 1.09


class Tensor(NamedTuple):
    """One entry of a header."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers of its data type it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return self.numbers * _BITS.get(self.dtype, 16) // 8


@dataclass(frozen=True)
class Weights:
    """Sizes of a model's weights, before they are split over GPUs."""

    parameters: int
    # In memory, loaded as they are; and in the files.
    bytes: int
    file_bytes: int
    # Of ``bytes``, the 16 bit matrices that vLLM can quantize to 8 bits while it loads.
    shrinkable_bytes: int

    def loaded_bytes(self, quantization: str | None) -> int:
        """In memory when vLLM quantizes them by the method of this name while it loads them."""
        bits = next((bits for mark, bits in _ONLINE_BITS if mark in (quantization or "")), 16.0)
        return self.bytes - int(self.shrinkable_bytes * (1 - bits / 16))


def main_dtype(tensors: Iterable[Tensor]) -> str | None:
    """The floating point type of most numbers, by its name in PyTorch."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in _FLOATS:
            counts[_FLOATS[tensor.dtype]] += tensor.numbers
    return counts.most_common(1)[0][0] if counts else None


def measure(tensors: Iterable[Tensor], shape: Shape) -> Weights:
    """What the tensors of all files come to when vLLM loads them for ``shape``."""
    parameters = loaded = in_files = shrinkable = 0
    for tensor in tensors:
        in_files += tensor.bytes
        if _is_unused(tensor.name, shape):
            continue
        numbers = _padded_numbers(tensor)
        if tensor.dtype in _FLOATS and not (shape.quantization and _SCALES.search(tensor.name)):
            size = numbers * 2
        elif shape.quantization == "mxfp4" and tensor.dtype == "U8":
            size = int(tensor.bytes * _MXFP4_PADDING)
        else:
            size = tensor.bytes
        loaded += size
        if not _SCALES.search(tensor.name):
            parameters += tensor.numbers * _packed(tensor, shape)
        if not shape.quantization and _is_matrix_of_a_layer(tensor):
            shrinkable += size
    return Weights(parameters, loaded, in_files, shrinkable)


def _is_unused(name: str, shape: Shape) -> bool:
    if _UNUSED.search(name) or (shape.tied_embeddings and _HEAD.search(name)):
        return True
    layer = _LAYER.search(name)
    # Layers past the last are for guessing several tokens at once (MTP); they are not loaded.
    return bool(layer and int(layer[1]) >= shape.layers and not _IMAGES_AND_SOUND.search(name))


def _padded_numbers(tensor: Tensor) -> int:
    if not _EMBEDDING.search(tensor.name) or len(tensor.shape) != 2:
        return tensor.numbers
    rows = math.ceil(tensor.shape[0] / _VOCABULARY_STEP) * _VOCABULARY_STEP
    return rows * tensor.shape[1]


def _packed(tensor: Tensor, shape: Shape) -> int:
    """How many weights one number of ``tensor`` holds."""
    if tensor.dtype == "I32":
        # AWQ, GPTQ and compressed-tensors: 4 bits each, by far the most common.
        return 8
    if tensor.dtype == "U8" and str(shape.quantization).endswith("fp4"):
        return 2
    return 1


def _is_matrix_of_a_layer(tensor: Tensor) -> bool:
    return (
        len(tensor.shape) >= 2
        and tensor.dtype in _FLOATS
        and bool(_LAYER.search(tensor.name))
        and not _ROUTER.search(tensor.name)
        and not _IMAGES_AND_SOUND.search(tensor.name)
    )
