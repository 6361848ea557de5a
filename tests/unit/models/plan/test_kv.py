"""The KV cache's arithmetic: blocks, groups, windows. The real engine is asked in tests/process."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.models.plan import shape
from sandbox.models.plan.kv import KvCache

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}


def cache(tensor_parallel: int = 1, **changes: Any) -> KvCache:
    return KvCache(
        shape.read({**CONFIG, **changes}), tensor_parallel=tensor_parallel, block=16, in_flight=4096
    )


def test_mistral_7b_takes_128_kib_a_token() -> None:
    assert cache().bytes_per_token == 128 * 1024


@pytest.mark.parametrize(("gpus", "kib"), [(1, 128), (2, 64), (8, 16), (16, 16)])
def test_key_value_heads_are_split_until_each_gpu_has_one(gpus: int, kib: int) -> None:
    assert cache(gpus).bytes_per_token == kib * 1024


def test_one_request_of_the_longest_context_fits_and_one_token_more_does_not() -> None:
    available = 2 * 2**30
    longest = cache().longest(available)
    # One block is vLLM's own.
    assert longest == 16384 - 16
    assert cache().bytes_for(longest) <= available - cache().block_bytes
    assert cache().bytes_for(longest + 1) > available - cache().block_bytes


def test_nothing_fits_in_nothing() -> None:
    assert cache().longest(0) == 0


def test_a_window_bounds_what_a_long_context_takes() -> None:
    sliding = cache(model_type="mistral", sliding_window=4096)
    assert sliding.bytes_for(32768) < cache().bytes_for(32768) / 3


def test_layers_of_two_kinds_form_groups_of_equal_size() -> None:
    # 5 to 1, of 6 layers: six groups of one layer, in which nothing is wasted.
    mixed = cache(
        num_hidden_layers=6,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        sliding_window=512,
    )
    assert mixed.bytes_per_token == cache(num_hidden_layers=6).bytes_per_token
    # 4 to 3: two groups of four, one of which has a layer of nothing.
    uneven = cache(
        num_hidden_layers=7,
        layer_types=["sliding_attention"] * 4 + ["full_attention"] * 3,
        sliding_window=512,
    )
    assert uneven.bytes_per_token == cache(num_hidden_layers=8).bytes_per_token
