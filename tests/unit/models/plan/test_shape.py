"""config.json becomes the shape that vLLM would see."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.models.plan import shape

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def read(**changes: Any) -> shape.Shape:
    return shape.read({**LLAMA, **changes})


def test_heads_without_a_number_of_key_value_heads_keep_one_each() -> None:
    assert read().attention == (shape.Attention(4, 8, 128),)


def test_grouped_queries_keep_less() -> None:
    assert read(num_key_value_heads=2).attention == (shape.Attention(4, 2, 128),)


def test_a_head_size_of_its_own_counts() -> None:
    assert read(head_dim=96).attention[0].values == 192


def test_latent_attention_keeps_one_vector() -> None:
    found = read(model_type="deepseek_v2", kv_lora_rank=512, qk_rope_head_dim=64)
    assert found.attention == (shape.Attention(4, 1, 576),)


def test_a_window_that_is_switched_off_is_none() -> None:
    found = read(model_type="qwen2", sliding_window=128, use_sliding_window=False)
    assert found.attention[0].window is None


def test_a_window_of_all_layers_counts() -> None:
    assert read(model_type="mistral", sliding_window=128).attention[0].window == 128


def test_layers_of_two_kinds_are_told_apart() -> None:
    kinds = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
    found = read(layer_types=kinds, sliding_window=64, num_key_value_heads=1)
    assert {(kind.layers, kind.window) for kind in found.attention} == {(3, 64), (1, None)}


def test_what_gemma_leaves_out_is_known() -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34}
    found = shape.read(
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "text_config": {**text, "sliding_window": 1024},
        }
    )
    assert found.heads == 8
    assert {(kind.layers, kind.window) for kind in found.attention} == {(29, 1024), (5, None)}


def test_layers_with_a_state_keep_no_tokens() -> None:
    found = read(layer_types=["linear_attention"] * 3 + ["full_attention"])
    assert (found.state_layers, found.attention[0].layers) == (3, 1)


@pytest.mark.parametrize(
    ("rope", "context"),
    [
        (None, 4096),
        ({"rope_type": "linear", "factor": 2.0}, 8192),
        ({"type": "dynamic", "factor": 4.0}, 16384),
        # Theirs is the scaled one already.
        ({"rope_type": "yarn", "factor": 4.0}, 4096),
        ({"rope_type": "llama3", "factor": 8.0}, 4096),
    ],
)
def test_the_context_is_scaled_as_vllm_scales_it(rope: Any, context: int) -> None:
    assert read(rope_scaling=rope).context == context


@pytest.mark.parametrize(
    ("given", "loaded"),
    [("float32", "bfloat16"), ("float16", "float16"), ("bfloat16", "bfloat16")],
)
def test_weights_are_loaded_in_16_bits(given: str, loaded: str) -> None:
    assert read(torch_dtype=given).dtype == loaded


def test_a_config_without_a_data_type_follows_the_weights() -> None:
    assert shape.read({**LLAMA, "torch_dtype": None}, "float16").dtype == "float16"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "compressed_tensors"}, "compressed-tensors"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt_fp4"),
        ({"quantization": {"quant_algo": "FP8"}}, "modelopt"),
    ],
)
def test_the_quantization_has_vllm_s_name(config: dict[str, Any], name: str) -> None:
    assert read(quantization_config=config).quantization == name


def test_a_checkpoint_may_choose_an_8_bit_cache() -> None:
    config = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    assert read(quantization_config=config).kv_bytes == 1


def test_a_config_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="how many layers"):
        shape.read({"architectures": ["X"], "model_type": "x"})


def test_code_is_needed_where_nobody_else_knows_the_type() -> None:
    code = {"AutoConfig": "configuration_x.XConfig"}
    assert read(model_type="x-of-its-own", auto_map=code).needs_code
    assert not read(auto_map=code).needs_code
