"""What bad input gets: the launcher names it in a sentence, says what to do, and lives on.

One service for all, which has no model; test_switching.py has one that serves meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.models.guide import guide_folder
from tests.process.api_service import ApiService, run, serving
from tests.process.hub_service import HubService, hub
from tests.process.processes import wait_until

MODEL, GATED = "owner/guide-copy", "owner/gated"
# Root reads everything; a service's user does not.
ORDINARY = [
    "setpriv",
    *(f"--{of}=-dac_override,-dac_read_search" for of in ("bounding-set", "inh-caps")),
]


@dataclass
class Box:
    """A service, its env file and a hub."""

    folder: Path
    service: ApiService
    hub: HubService

    def reload(self, text: str) -> None:
        """Have the service read other settings."""
        reloads = self.service.status()["reloads"]
        (self.folder / "box.env").write_text(text)
        os.kill(self.service.program.process.pid, signal.SIGHUP)
        wait_until(lambda: self.service.status()["reloads"] > reloads, 60, self.service.tell)

    def refusal(self, text: str, sentence: str) -> dict[str, Any]:
        """The status once these settings have ended in ``sentence``."""
        # From another failure, so that this one is not the one before.
        for wanted, said in (
            ("MODEL_ID=/elsewhere", "/elsewhere does not exist"),
            (text, sentence),
        ):
            self.reload(f"HF_ENDPOINT={self.hub.url}\n{wanted}\n")
            wait_until(lambda: self._failed_with(said), 240, self.service.tell)  # noqa: B023
        return self.service.status()

    def _failed_with(self, sentence: str) -> bool:
        status = self.service.status()
        return status["state"] == "failed" and sentence in status["message"]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("bad")
    make_repositories(folder / "hub")
    make_folders(folder)
    env_file = folder / "box.env"
    env_file.write_text("MODEL_ID=/nowhere\n")
    ordinary = [] if os.geteuid() else ORDINARY
    with hub(folder) as far_end:
        assert run(folder, "download", MODEL, HF_ENDPOINT=far_end.url).returncode == 0
        with serving(folder, env_file, under=ordinary) as service:
            service.wait_for("failed")
            yield Box(folder, service, far_end)
    (folder / "closed").chmod(0o700)


def make_repositories(root: Path) -> None:
    """Models on the hub: a good one, and one of each kind that cannot be served."""
    for name in (MODEL, GATED, "owner/gguf", "owner/bin", "owner/code", "owner/unheard"):
        shutil.copytree(guide_folder(), root / name)
    (root / GATED / ".gated").touch()
    for name, other in (("gguf", "model.Q4_K_M.gguf"), ("bin", "pytorch_model.bin")):
        (root / "owner" / name / "model.safetensors").rename(root / "owner" / name / other)
    change_config(root / "owner/code", model_type="x", auto_map={"AutoConfig": "code.XConfig"})
    change_config(root / "owner/unheard", architectures=["XForCausalLM"])


def make_folders(root: Path) -> None:
    """Models on this machine: one that is too large, and unreadable ones."""
    for place in ("huge", "closed/model", "shut", "half"):
        shutil.copytree(guide_folder(), root / place)
    size = 2**42
    tensor = {"dtype": "BF16", "shape": [2**20, 2**21], "data_offsets": [0, size]}
    header = json.dumps({"model.layers.0.mlp.up_proj.weight": tensor}).encode()
    weights = root / "huge/model.safetensors"
    weights.write_bytes(struct.pack("<Q", len(header)) + header)
    # A hole: it takes no room on the disk.
    os.truncate(weights, 8 + len(header) + size)
    (root / "closed").chmod(0)
    (root / "shut").chmod(0)
    (root / "half/model.safetensors").chmod(0)


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ("MODEL_ID=just-a-word", "neither a folder nor a Hugging Face id", "owner/name"),
        ("MODEL_ID=builtin:other", "no built-in model", "builtin:guide"),
        ("MODEL_ID=owner/typo", "owner/typo was not found on Hugging Face.", "MODEL_ID"),
        ("MODEL_ID=owner/guide-cop", "owner/guide-cop was not found", f"Did you mean {MODEL}"),
        (f"MODEL_ID={GATED}", f"{GATED} is gated", "HF_TOKEN"),
        (f"MODEL_ID={GATED}\nHF_TOKEN=hf_stranger", f"may not read {GATED}", "Accept the terms"),
        (f"MODEL_ID={GATED}\nHF_TOKEN=hf_wrong", "does not accept the token in HF_TOKEN", "tokens"),
        ("MODEL_ID=owner/bin", "owner/bin has no .safetensors weights, only .bin", ".safetensors"),
        ("MODEL_ID=owner/gguf", "owner/gguf has its weights only as GGUF", ".safetensors"),
        (
            "MODEL_ID=owner/code",
            "owner/code runs only with Python code of its repository, which could do anything",
            "VLLM_EXTRA_ARGS=--trust-remote-code",
        ),
        (
            "MODEL_ID=owner/unheard",
            "owner/unheard has the architecture XForCausalLM, which vLLM 0.32 does not know",
            "Choose another model",
        ),
        ("MODEL_ID={folder}/huge", "does not fit: its weights take 4096.0 GiB", "would fit here"),
        (
            f"MODEL_ID={MODEL}\nMAX_MODEL_LEN=4096",
            f"MAX_MODEL_LEN is 4096, but {MODEL} has a context of 1024 tokens",
            "at most 1024",
        ),
        (
            f"MODEL_ID={MODEL}\nTENSOR_PARALLEL_SIZE=3",
            f"the 4 attention heads of {MODEL} cannot be divided by 3",
            "Set it to 1 or 2, or to auto",
        ),
        (f"MODEL_ID={MODEL}\nMODEL_REVISION=v9", f"{MODEL} has no revision 'v9'", "MODEL_REVISION"),
        ("MODEL_ID={folder}/closed/model", "{folder}/closed/model cannot be read", "user"),
        ("MODEL_ID={folder}/shut", "{folder}/shut cannot be read", "user"),
        ("MODEL_ID={folder}/half", "{folder}/half/model.safetensors cannot be read", "user"),
    ],
)
def test_what_cannot_be_served_is_named_before_it_is_fetched_or_loaded(
    box: Box, text: str, sentence: str, hint: str
) -> None:
    text, sentence = (words.replace("{folder}", str(box.folder)) for words in (text, sentence))
    status = box.refusal(text, sentence)
    assert hint in status["hint"]
    assert [phase["state"] for phase in status["phases"]] == ["planning", "failed"]
    assert status["pid"] == box.service.program.process.pid
    assert "hf_wrong" not in box.service.program.output
    assert_told_to_clients(box.service, sentence)


def without_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return "has no config.json"


def with_cut_weights(folder: Path) -> str:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    return "is broken"


def with_weights_that_are_none(folder: Path) -> str:
    (folder / "model.safetensors").write_bytes(b"not a model")
    return "header is broken"


def without_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return "no .safetensors file"


def with_unknown_architecture(folder: Path) -> str:
    change_config(folder, architectures=["NobodyForCausalLM"], model_type="nobody")
    return "NobodyForCausalLM, which vLLM 0.32 does not know"


def with_tensors_of_another_shape(folder: Path) -> str:
    header = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    return "could not be loaded"


@pytest.mark.parametrize(
    "breaking",
    [
        without_config,
        with_cut_weights,
        with_weights_that_are_none,
        without_weights,
        with_unknown_architecture,
        with_tensors_of_another_shape,
    ],
)
def test_a_broken_folder_is_named(
    box: Box, tmp_path: Path, breaking: Callable[[Path], str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(guide_folder(), folder)
    sentence = breaking(folder)
    status = box.refusal(f"MODEL_ID={folder}", sentence)
    assert str(folder) in status["message"]
    assert status["hint"]
    assert "Traceback" not in status["message"]
    assert_told_to_clients(box.service, sentence)


def test_a_flag_that_vllm_does_not_know_is_named(box: Box) -> None:
    flags = "VLLM_EXTRA_ARGS='--no-such-flag 3'"
    status = box.refusal(f"MODEL_ID=builtin:guide\n{flags}", "--no-such-flag")
    assert "VLLM_EXTRA_ARGS" in status["hint"]


def test_an_unreachable_hub_is_tried_again_with_longer_and_longer_pauses(box: Box) -> None:
    box.reload("MODEL_ID=owner/never-seen\nHF_ENDPOINT=http://127.0.0.1:9\n")
    for pause in (5, 15):
        box.service.program.wait_for(f"(next try in {pause} s)")
    status = box.service.status()
    assert status["state"] == "downloading"
    assert "owner/never-seen could not be downloaded" in status["message"]
    assert "tried again" in status["hint"]
    # A changed mind ends it.
    box.refusal("MODEL_ID=/nowhere", "/nowhere does not exist")


def assert_told_to_clients(service: ApiService, sentence: str) -> None:
    """Who asks for an answer is told the same, by a service that lives."""
    refused = service.ask("Hello")
    assert refused.status_code == 503
    assert sentence in refused.json()["error"]["message"]
    assert httpx.get(f"{service.url}/livez").status_code == 200
