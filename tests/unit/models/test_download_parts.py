"""Which files are chosen, how progress is told, how long a hub wants to be left alone."""

from __future__ import annotations

import email.utils
import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from sandbox.errors import SandboxError
from sandbox.models.download.hub import Hub, HubUnreachableError, explain, retry_after
from sandbox.models.download.progress import Meter, describe, size
from sandbox.models.download.selection import choose
from sandbox.models.source import HubModel

SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


def test_of_two_formats_of_the_same_weights_one_is_chosen() -> None:
    # mistralai/Mistral-7B-Instruct-v0.3
    paths = [
        *(".gitattributes", "README.md", "config.json", "consolidated.safetensors"),
        *("generation_config.json", *SHARDS, "model.safetensors.index.json", "params.json"),
        *("special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer.model.v3"),
        "tokenizer_config.json",
    ]
    assert set(choose(paths, "m")) == {
        *("config.json", "generation_config.json", *SHARDS, "model.safetensors.index.json"),
        *("special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"),
    }


@pytest.mark.parametrize("beside", [[], ["config.json"], ["config.json", *SHARDS]])
def test_mistrals_format_is_chosen_where_the_other_is_not_whole(beside: list[str]) -> None:
    paths = ["consolidated.safetensors", "params.json", "tekken.json", *beside]
    chosen = choose(paths, "m")
    assert {"consolidated.safetensors", "params.json", "tekken.json"} <= set(chosen)
    assert not set(SHARDS) & set(chosen)


def test_copies_for_other_programs_are_left_out() -> None:
    paths = [
        *("config.json", "model.safetensors", "tokenizer.json", "onnx/config.json"),
        *("original/model.safetensors", "metal/model.bin", "pytorch_model.bin", "model.gguf"),
    ]
    assert choose(paths, "m") == ["config.json", "tokenizer.json", "model.safetensors"]


def test_layers_after_the_model_are_chosen_too() -> None:
    paths = ["config.json", "modules.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    assert set(choose([*paths, "model.safetensors"], "m")) == {*paths, "model.safetensors"}


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["config.json", "model.gguf"], "has only GGUF files"),
        (["config.json", "pytorch_model.bin"], "no safetensors"),
        (["adapter_config.json", "adapter_model.safetensors"], "has no config.json"),
        (["model_index.json", "unet/model.safetensors"], "no safetensors"),
        ([], "no safetensors"),
    ],
)
def test_what_cannot_be_loaded_is_refused(paths: list[str], said: str) -> None:
    with pytest.raises(SandboxError, match=said) as caught:
        choose(paths, "owner/name")
    assert "owner/name" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("done", "total", "rate", "said"),
    [
        (6_200_000_000, 14_500_000_000, 69e6, "6.2 of 14.5 GB, about 2 minutes left"),
        (6_200_000_000, 14_500_000_000, None, "6.2 of 14.5 GB"),
        (500_000, 6_600_000, 100e3, "0.5 of 6.6 MB, about 61 seconds left"),
        (1_000_000_000, 240_000_000_000, 10e6, "1.0 of 240.0 GB, about 7 hours left"),
        (14_500_000_000, 14_500_000_000, 1e6, "14.5 of 14.5 GB"),
        (500_000_000, None, None, "500.0 MB so far"),
    ],
)
def test_progress_is_told_in_words(
    done: int, total: int | None, rate: float | None, said: str
) -> None:
    assert describe(done, total, rate) == said


def test_sizes_are_told_in_the_unit_that_fits() -> None:
    assert [size(n) for n in (0, 1500, 2.5e6, 14.5e9)] == ["0.0 kB", "1.5 kB", "2.5 MB", "14.5 GB"]


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    # 1,000 bytes a second for a minute, then 10 bytes a second.
    done = [1000 * second for second in range(60)] + [60_000 + 10 * s for s in range(30)]
    measures = iter(done)
    rates: list[float | None] = []
    meter = Meter(lambda: (next(measures), 100_000), lambda d, t, rate: rates.append(rate))
    for half_second in range(len(done)):
        meter.tick(half_second / 2)
    assert rates[0] is None
    assert rates[40] == pytest.approx(2000)
    assert rates[-1] == pytest.approx(20)


def test_nothing_arriving_has_no_rate() -> None:
    rates: list[float | None] = []
    meter = Meter(lambda: (5, 10), lambda d, t, rate: rates.append(rate))
    meter.tick(0.0)
    meter.tick(0.5)
    assert rates == [None, None]


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after("120") == 120
    assert retry_after("") == retry_after("soon") == 0
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 0 < retry_after(date) <= 100
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def answer(url: str, status: int, **headers: str) -> HfHubHTTPError:
    request = httpx2.Request("GET", url)
    response = httpx2.Response(status, headers=headers, request=request)
    return HfHubHTTPError(f"{status} for url {url}", response=response)


def test_a_signed_address_is_not_shown(tmp_path: Path) -> None:
    error = answer("https://cdn.example.org/x?Signature=abc", 403)
    said = explain(error, Hub("https://huggingface.co"), HubModel("owner/name", None), tmp_path)
    assert isinstance(said, HubUnreachableError)
    assert "cdn.example.org answered 403 Forbidden" in said.message
    assert "abc" not in str(said)


def test_a_hub_that_asks_to_wait_is_left_alone_for_that_long(tmp_path: Path) -> None:
    error = answer("https://huggingface.co/api", 429, **{"Retry-After": "77"})
    said = explain(error, Hub("https://huggingface.co"), HubModel("owner/name", None), tmp_path)
    assert isinstance(said, HubUnreachableError)
    assert said.retry_after == 77


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx2.ConnectError("[Errno 111] Connection refused"), "Connection refused"),
        (httpx2.ReadTimeout(""), "did not answer in time"),
        (httpx2.RemoteProtocolError(""), "RemoteProtocolError"),
    ],
)
def test_a_network_that_fails_is_said_with_the_endpoint(
    tmp_path: Path, error: Exception, said: str
) -> None:
    hub = Hub("https://hub.example.org")
    found = explain(error, hub, HubModel("owner/name", "v1"), tmp_path)
    assert isinstance(found, HubUnreachableError)
    assert "owner/name at revision v1 could not be downloaded" in found.message
    assert "https://hub.example.org" in found.message
    assert said in found.message
