"""The stand-in for the hub as a program under test's far end, and repositories for it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.models.guide import guide_folder
from tests.process.api_service import free_port
from tests.process.processes import running

SHARDS = tuple(f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))


@dataclass
class HubService:
    """A running stand-in; ``url`` is for HF_ENDPOINT, ``root`` has its repositories."""

    url: str
    root: Path

    def set_faults(self, *faults: dict[str, Any]) -> None:
        """What goes wrong from now on: fields of ``tests.standins.hub.Fault``."""
        httpx.post(f"{self.url}/_faults", json=faults).raise_for_status()

    def served(self) -> dict[str, int]:
        """Bytes of file contents that were sent so far, by path."""
        found: dict[str, int] = httpx.get(f"{self.url}/_served").json()["bytes"]
        return found

    def requests(self) -> list[str]:
        """Such as ``GET /owner/name/resolve/main/config.json bytes=100-``."""
        found: list[str] = httpx.get(f"{self.url}/_served").json()["requests"]
        return found

    def tokens_at_cdn(self) -> int:
        """How many requests brought a token to the other host."""
        found: int = httpx.get(f"{self.url}/_served").json()["tokens_at_cdn"]
        return found


@contextlib.contextmanager
def hub(folder: Path, bytes_per_second: int = 0) -> Iterator[HubService]:
    """The stand-in with the repositories below ``folder / "hub"``, so fast per connection."""
    port = free_port()
    root = folder / "hub"
    command = [sys.executable, "-m", "tests.standins.hub", str(root), str(port)]
    with running([*command, str(bytes_per_second)], folder) as program:
        program.wait_for("listening")
        yield HubService(f"http://127.0.0.1:{port}", root)


def make_repository(folder: Path, shard_bytes: int = 400_000) -> int:
    """A model in three parts and a second format in ``folder``; returns what is to be fetched."""
    folder.mkdir(parents=True)
    for shard in SHARDS:
        write_safetensors(folder / shard, shard_bytes)
    index = {"weight_map": {f"w{number}": shard for number, shard in enumerate(SHARDS)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    # One that can be planned: the launcher fetches no other.
    shutil.copy(guide_folder() / "config.json", folder)
    (folder / "tokenizer.json").write_text("{}")
    wanted = sum(file.stat().st_size for file in folder.iterdir())
    # Not for vLLM, or the same again.
    (folder / "README.md").write_text("# A model")
    (folder / "params.json").write_text("{}")
    for double in ("consolidated.safetensors", "model.fp16.safetensors"):
        write_safetensors(folder / double, shard_bytes)
    (folder / "pytorch_model.bin").write_bytes(bytes(1000))
    (folder / "original").mkdir()
    (folder / "original" / "params.json").write_text("{}")
    return wanted


def write_safetensors(file: Path, tensor_bytes: int) -> None:
    """One tensor of random bytes."""
    header = {"w": {"dtype": "U8", "shape": [tensor_bytes], "data_offsets": [0, tensor_bytes]}}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + os.urandom(tensor_bytes))
