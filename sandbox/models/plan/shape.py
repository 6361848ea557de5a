"""config.json to the shape of a model: layers, heads, context, data type, quantization.

Follows vLLM 0.32 (``transformers_utils/model_arch_config_convertor.py``, ``config/model.py``);
tests/process/test_plan_and_engine.py compares with the real engine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sandbox.models.plan import facts

Config = dict[str, Any]

# Where a model with images or sound keeps what concerns its text.
_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
# vLLM's keys for the number of key-value heads and for the longest context, in its order.
_KV_HEAD_KEYS = (
    *("n_head_kv", "num_kv_heads", "num_key_value_heads"),
    *("multi_query_group_num", "num_attention_groups"),
)
_CONTEXT_KEYS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"),
    *("max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"),
)
# Their max_position_embeddings is already the scaled one.
_SCALED_ROPES = {
    *("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope"),
    "default",
}
_DEFAULT_CONTEXT = 2048
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Attention:
    """Layers that keep the same amount for each token."""

    layers: int
    # 1 for latent attention (MLA), whose one vector every GPU keeps.
    kv_heads: int
    # Numbers that a head keeps for a token: key and value.
    values: int
    # Tokens after which a layer forgets; None for never.
    window: int | None = None


@dataclass(frozen=True)
class Shape:
    """What of a model decides how much memory it takes; sizes are in numbers, not bytes."""

    architecture: str
    model_type: str
    heads: int
    hidden: int
    # Of the widest feed-forward part that one token goes through.
    intermediate: int
    vocabulary: int
    layers: int
    attention: tuple[Attention, ...]
    # Layers that keep a state of a fixed size in place of keys and values (Mamba and the like).
    state_layers: int
    # Numbers of one such state in one layer, about; 0 where not known.
    state_values: int
    # The longest context of the model itself, in tokens.
    context: int
    # As vLLM loads it, such as "bfloat16".
    dtype: str
    kv_bytes: int
    quantization: str | None
    # Numbers that a tensor parallel split must divide, with what they are called.
    divisible: tuple[tuple[str, int], ...]
    tied_embeddings: bool
    needs_code: bool


def text_config(config: Config) -> Config:
    """The part of ``config`` that describes the language model."""
    for name in _TEXT_CONFIGS:
        inner = config.get(name)
        if isinstance(inner, dict):
            return text_config(inner)
    return config


def quantization_of(config: Config) -> Config:
    """The checkpoint's own quantization, as in config.json; empty for none."""
    for part in (config, text_config(config)):
        found = part.get("quantization_config") or part.get("compression_config")
        if isinstance(found, dict):
            return found
    return {}


def read(config: Config, weights_dtype: str | None = None) -> Shape:
    """The shape that ``config`` describes; ``weights_dtype`` is what its tensors mostly are.

    Raises ``ValueError`` when it does not say how many layers or heads there are.
    """
    text = text_config(config)
    model_type = str(config.get("model_type") or "")
    known = facts.defaults(str(text.get("model_type") or model_type))

    def number(*names: str, default: int = 0) -> int:
        for source in (text, known):
            for name in names:
                value = source.get(name)
                if isinstance(value, list) and value:
                    # Layers that differ: the largest is the safe one.
                    value = max((v for v in value if isinstance(v, int)), default=None)
                if isinstance(value, int) and not isinstance(value, bool):
                    return value
        return default

    layers = number("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    heads = number("num_attention_heads", "n_head", "n_heads", "num_heads")
    hidden = number("hidden_size", "n_embd", "d_model", "dim")
    if not layers or not (heads or "mamba" in model_type):
        raise ValueError("config.json does not say how many layers and attention heads there are")
    kv_heads = number(*_KV_HEAD_KEYS, default=heads)
    if text.get("multi_query") and not text.get("new_decoder_architecture"):
        # Falcon's and StarCoder's way to say one.
        kv_heads = 1
    head_dim = number("head_dim", "hidden_size_per_head", "attention_head_dim") or (
        hidden // heads if heads else 0
    )
    quantized = quantization_of(config)
    kinds = _kinds_of_layers(text, known, layers)
    window = _window(text, known)
    latent = number("kv_lora_rank") if text.get("kv_lora_rank") is not None else 0
    attention = []
    for kind, count in Counter(kinds).items():
        if kind == "state":
            continue
        limit = window if kind == "sliding" else None
        if kind == "chunked":
            limit = number("attention_chunk_size") or None
        if latent:
            attention.append(Attention(count, 1, latent + number("qk_rope_head_dim"), limit))
        elif kv_heads and head_dim:
            value_dim = number("v_head_dim", default=head_dim) if "v_head_dim" in text else head_dim
            attention.append(Attention(count, kv_heads, head_dim + value_dim, limit))
    moe = number("moe_intermediate_size", "intermediate_size")
    active = number("num_experts_per_tok", "experts_per_token", "num_experts_per_token")
    intermediate = number("intermediate_size", "ffn_dim", "n_inner") or 4 * hidden
    dtype = _dtype(config, text, weights_dtype)
    architectures = config.get("architectures") or [""]
    return Shape(
        architecture=str(architectures[0]),
        model_type=model_type,
        heads=heads,
        hidden=hidden,
        intermediate=max(intermediate, active * (moe + hidden // 2)) if active else intermediate,
        vocabulary=number("vocab_size"),
        layers=layers,
        attention=tuple(attention),
        state_layers=kinds.count("state"),
        state_values=_state_values(text, hidden),
        context=_context(text, known, model_type),
        dtype=dtype,
        kv_bytes=1 if _kv_is_8_bit(quantized) else _BYTES[dtype],
        quantization=_quantization_name(quantized),
        divisible=_divisible(text, heads, quantized),
        tied_embeddings=_tied(config, text, known),
        needs_code="AutoConfig" in (config.get("auto_map") or {})
        and not facts.is_config_type(model_type),
    )


def _kinds_of_layers(text: Config, known: Config, layers: int) -> list[str]:
    """``full``, ``sliding``, ``chunked`` or ``state`` for each layer."""
    kinds = text.get("layer_types") or text.get("layers_block_type")
    if not kinds and (pattern := text.get("hybrid_override_pattern")):
        # Nemotron-H: M is Mamba, * attention, and - a feed-forward part alone.
        kinds = ["full" if letter == "*" else "state" for letter in pattern if letter != "-"]
    if not kinds and (period := text.get("attn_layer_period")):
        offset = text.get("attn_layer_offset") or 0
        kinds = ["full" if at % period == offset else "state" for at in range(layers)]
    if not kinds and (period := text.get("full_attention_interval")):
        kinds = ["full" if (at + 1) % period == 0 else "state" for at in range(layers)]
    if not kinds and isinstance(period := text.get("sliding_window_pattern"), int) and period > 1:
        kinds = ["full" if (at + 1) % period == 0 else "sliding" for at in range(layers)]
    if (
        not kinds
        and text.get("use_sliding_window")
        and isinstance(text.get("max_window_layers"), int)
    ):
        # Qwen2's way: the layers from there on slide.
        first = text["max_window_layers"]
        kinds = ["sliding" if at >= first else "full" for at in range(layers)]
    if not kinds and (pattern := known.get("layer_pattern")):
        kinds = [pattern[at % len(pattern)] for at in range(layers)]
    if kinds:
        return [_kind(str(kind)) for kind in kinds[:layers]]
    if "mamba" in str(text.get("model_type")):
        return ["state"] * layers
    return ["sliding" if _window(text, known) else "full"] * layers


def _kind(name: str) -> str:
    if "sliding" in name:
        return "sliding"
    if "chunked" in name:
        return "chunked"
    if name in ("full", "full_attention", "attention", "hybrid"):
        return "full"
    return "state"


def _window(text: Config, known: Config) -> int | None:
    if not text.get("use_sliding_window", known.get("use_sliding_window", True)):
        return None
    window = text.get("sliding_window", known.get("sliding_window"))
    return window if isinstance(window, int) and window > 0 else None


def _state_values(text: Config, hidden: int) -> int:
    """About as many numbers as a state layer keeps: heads x head size x state size."""
    inner = int(text.get("mamba_expand") or text.get("expand") or 2) * hidden
    size = text.get("mamba_d_state") or text.get("ssm_state_size") or text.get("state_size")
    if isinstance(text.get("linear_num_value_heads"), int):
        return int(
            text["linear_num_value_heads"]
            * (text.get("linear_value_head_dim") or 128)
            * (text.get("linear_key_head_dim") or 128)
        )
    return inner * int(size or 128)


def _context(text: Config, known: Config, model_type: str) -> int:
    lengths = [text[k] for k in _CONTEXT_KEYS if isinstance(text.get(k), int)]
    if not lengths and "max_position_embeddings" in known:
        lengths = [known["max_position_embeddings"]]
    length = min(lengths, default=_DEFAULT_CONTEXT)
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "longrope":
        return int(text.get("original_max_position_embeddings") or length)
    if kind not in _SCALED_ROPES and "gemma3" not in model_type:
        length = int(length * float(rope.get("factor") or 1))
    return length


def _dtype(config: Config, text: Config, weights_dtype: str | None) -> str:
    for part in (config, text, config.get("vision_config") or {}):
        name = str(part.get("dtype") or part.get("torch_dtype") or "").removeprefix("torch.")
        if name in _BYTES:
            break
    else:
        name = weights_dtype if weights_dtype in _BYTES else "float32"
    # vLLM loads nothing larger than 16 bits of its own accord; Gemma does not bear float16.
    if name in ("float64", "float32") or "gemma" in str(text.get("model_type")):
        return "bfloat16"
    return name


def _quantization_name(quantized: Config) -> str | None:
    if not quantized:
        return None
    inner = quantized.get("quantization")
    inner = inner if isinstance(inner, dict) else quantized
    algorithm = str(inner.get("quant_algo") or "").lower()
    name = str(quantized.get("quant_method") or "").lower().replace("_", "-")
    if algorithm and (not name or name == "modelopt"):
        return "modelopt_fp4" if "fp4" in algorithm else "modelopt"
    return name or None


def _kv_is_8_bit(quantized: Config) -> bool:
    """As vLLM: only checkpoints of NVIDIA's ModelOpt choose the KV cache's type themselves."""
    if not str(_quantization_name(quantized)).startswith("modelopt"):
        return False
    inner = quantized.get("quantization")
    inner = inner if isinstance(inner, dict) else {}
    scheme = inner.get("kv_cache_quant_algo") or quantized.get("kv_cache_quant_algo")
    other = inner.get("kv_cache_scheme") or quantized.get("kv_cache_scheme")
    if isinstance(other, dict):
        return other.get("num_bits") == 8 and other.get("type") == "float"
    return "fp8" in str(scheme or other or "").lower()


def _divisible(text: Config, heads: int, quantized: Config) -> tuple[tuple[str, int], ...]:
    found = [("attention heads", heads)]
    for key in ("intermediate_size", "moe_intermediate_size"):
        size = text.get(key)
        if not isinstance(size, int):
            continue
        block = quantized.get("weight_block_size")
        step = block[0] if isinstance(block, list) and block and isinstance(block[0], int) else 1
        # Blocks of quantized weights cannot be cut.
        if size % step == 0:
            found.append((f"{key} in blocks" if step > 1 else key, size // step))
    return tuple((name, size) for name, size in found if size)


def _tied(config: Config, text: Config, known: Config) -> bool:
    for part in (text, config, known):
        if isinstance(part.get("tie_word_embeddings"), bool):
            return bool(part["tie_word_embeddings"])
    # Transformers' default for a configuration that says nothing.
    return True
