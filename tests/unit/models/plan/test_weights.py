"""Headers of safetensors files become bytes in memory."""

from __future__ import annotations

from typing import Any

from sandbox.models.plan import shape
from sandbox.models.plan.weights import Tensor, Weights, measure

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def count(*tensors: Tensor, **changes: Any) -> Weights:
    return measure(tensors, shape.read({**CONFIG, **changes}))


def test_32_bit_weights_are_loaded_in_16() -> None:
    found = count(Tensor("model.layers.0.mlp.up_proj.weight", "F32", (64, 128)))
    assert (found.bytes, found.file_bytes, found.parameters) == (16384, 32768, 8192)


def test_the_vocabulary_is_padded() -> None:
    assert count(Tensor("model.embed_tokens.weight", "BF16", (65, 10))).bytes == 128 * 10 * 2


def test_a_head_that_is_tied_is_not_loaded() -> None:
    head = Tensor("lm_head.weight", "BF16", (64, 10))
    assert count(head, tie_word_embeddings=True).bytes == 0
    assert count(head).bytes == 1280


def test_layers_past_the_last_are_not_loaded() -> None:
    guess = Tensor("model.layers.2.mlp.up_proj.weight", "BF16", (64, 64))
    assert count(guess).bytes == 0
    tower = Tensor("vision_tower.encoder.layers.9.fc1.weight", "BF16", (64, 64))
    assert count(tower).bytes == 8192


def test_4_bit_weights_count_as_parameters() -> None:
    awq = {"quant_method": "awq", "bits": 4}
    found = count(
        Tensor("model.layers.0.mlp.up_proj.qweight", "I32", (64, 16)),
        Tensor("model.layers.0.mlp.up_proj.qzeros", "I32", (1, 16)),
        Tensor("model.layers.0.mlp.up_proj.scales", "F16", (1, 128)),
        quantization_config=awq,
    )
    assert found.parameters == 64 * 128
    assert found.bytes == 64 * 16 * 4 + 16 * 4 + 128 * 2


def test_only_matrices_of_layers_shrink() -> None:
    found = count(
        Tensor("model.embed_tokens.weight", "BF16", (64, 64)),
        Tensor("model.layers.0.mlp.up_proj.weight", "BF16", (64, 64)),
        Tensor("model.layers.0.mlp.gate.weight", "BF16", (8, 64)),
        Tensor("model.layers.0.input_layernorm.weight", "BF16", (64,)),
    )
    assert found.shrinkable_bytes == 8192
    assert found.loaded_bytes("fp8_per_tensor") == found.bytes - 4096
