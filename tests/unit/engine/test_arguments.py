"""Settings and a model become flags of vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.engine import arguments
from sandbox.errors import ConfigError
from sandbox.models.guide import guide_folder
from sandbox.models.plan.decide import decide
from sandbox.models.plan.known import candidate_of
from sandbox.models.plan.machine import GIB, Machine, from_gpus
from sandbox.models.source import LocalModel
from sandbox.settings import Settings

GUIDE = LocalModel("builtin:guide", guide_folder(), "llama", builtin=True)


def settings(**values: object) -> Settings:
    return Settings.model_validate({name.upper(): value for name, value in values.items()})


def after(flag: str, flags: list[str]) -> str:
    return flags[flags.index(flag) + 1]


def test_what_is_auto_follows_from_the_plan() -> None:
    plan = decide(candidate_of("Qwen/Qwen3-32B"), from_gpus("20GB x4"))
    flags = arguments.compose(settings(), GUIDE, plan, cpu=False)
    assert after("--max-model-len", flags) == str(plan.context_length)
    assert after("--tensor-parallel-size", flags) == "4"
    assert after("--quantization", flags) == "fp8_per_tensor"


def test_a_plan_for_another_device_is_not_followed() -> None:
    plan = decide(candidate_of("Qwen/Qwen3-32B"), from_gpus("20GB x4"))
    flags = arguments.compose(settings(), GUIDE, plan, cpu=True)
    assert after("--max-model-len", flags) == "auto"
    assert int(after("--kv-cache-memory-bytes", flags)) == 2**28


def test_without_a_plan_vllm_takes_the_context_that_fits() -> None:
    assert after("--max-model-len", arguments.compose(settings(), GUIDE, cpu=False)) == "auto"


def test_settings_become_flags() -> None:
    chosen = settings(
        max_model_len=4096,
        tensor_parallel_size=2,
        quantization="fp8_per_tensor",
        gpu_memory_utilization=0.8,
        served_model_name="mine",
    )
    flags = arguments.compose(chosen, GUIDE, cpu=False)
    assert after("--max-model-len", flags) == "4096"
    assert after("--tensor-parallel-size", flags) == "2"
    assert after("--quantization", flags) == "fp8_per_tensor"
    assert after("--gpu-memory-utilization", flags) == "0.8"
    assert after("--served-model-name", flags) == "mine"


def test_a_cpu_gets_a_bounded_kv_cache_and_no_compiling() -> None:
    flags = arguments.compose(settings(), GUIDE, cpu=True)
    assert "--enforce-eager" in flags
    assert int(after("--kv-cache-memory-bytes", flags)) == 2**28


def test_a_cpu_without_16_bit_floats_computes_in_32_bits() -> None:
    machine = Machine("no GPU", 0, 0, None, 16 * GIB, None, has_16_bit_floats=False)
    plan = decide(candidate_of("Qwen/Qwen3-0.6B"), machine)
    assert after("--dtype", arguments.compose(settings(), GUIDE, plan, cpu=True)) == "float32"


def test_extra_arguments_come_last_so_that_they_win() -> None:
    chosen = settings(max_model_len=4096, vllm_extra_args="--max-model-len 512 --seed '7'")
    flags = arguments.compose(chosen, GUIDE, cpu=False)
    assert flags[-4:] == ["--max-model-len", "512", "--seed", "7"]


@pytest.mark.parametrize("flag", ["--port 1", "--port=1", "--api_key x", "--model a/b"])
def test_flags_that_the_launcher_owns_are_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match="sets itself"):
        arguments.extra_flags(settings(vllm_extra_args=flag))


def test_an_open_quote_is_refused() -> None:
    with pytest.raises(ConfigError, match="no closing quotation"):
        arguments.extra_flags(settings(vllm_extra_args="--seed '7"))


def test_the_guide_takes_tools() -> None:
    assert after("--tool-call-parser", arguments.compose(settings(), GUIDE, cpu=True)) == "hermes"


def test_a_family_without_its_token_serves_plain_chat(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": []}')
    model = LocalModel("x", tmp_path, "llama")
    assert "--tool-call-parser" not in arguments.compose(settings(), model, cpu=False)


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ("", [arguments.NO_MEDIA_HOST]),
        ("a.example", ["a.example"]),
        ("a.example , b.example", ["a.example", "b.example"]),
    ],
)
def test_media_come_from_named_hosts_only(given: str, hosts: list[str]) -> None:
    flags = arguments.compose(settings(media_domains=given), GUIDE, cpu=True)
    place = flags.index("--allowed-media-domains") + 1
    others = flags[place + len(hosts) :]
    assert flags[place : place + len(hosts)] == hosts
    assert not others or others[0].startswith("--")
