"""`ai-sandbox download` against a hub that throttles, cuts, refuses and damages."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.process.api_service import COMMAND, environment, run
from tests.process.disks import Disk, small_disk
from tests.process.hub_service import SHARDS, HubService, hub, make_repository, write_safetensors
from tests.process.processes import Program, running, wait_until

MODEL = "owner/model"


@pytest.fixture
def size(tmp_path: Path) -> int:
    """The bytes to be fetched of ``MODEL``."""
    return make_repository(tmp_path / "hub" / MODEL)


def download(
    folder: Path, service: HubService, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """The verb, to its end."""
    arguments = arguments or (MODEL,)
    return run(folder, "download", *arguments, HF_ENDPOINT=service.url, **settings)


@contextlib.contextmanager
def downloading(folder: Path, service: HubService, under: Sequence[str] = ()) -> Iterator[Program]:
    """The verb, running; ``under`` is a command that becomes it."""
    variables = environment(folder, HF_ENDPOINT=service.url)
    with running([*under, str(COMMAND), "download", MODEL], folder, variables) as program:
        yield program


def on_disk(folder: Path) -> int:
    """The bytes of content that have arrived, whole files or not."""
    total = 0
    for file in (folder / "models").glob("models--*/blobs/*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def partials(folder: Path) -> list[str]:
    return [file.name for file in (folder / "models").rglob("*.incomplete")]


def snapshot_by_huggingface_hub(folder: Path) -> set[str]:
    """What the hub's own client finds without the network."""
    code = (
        "import sys, huggingface_hub as h;"
        "print(h.snapshot_download(sys.argv[1], cache_dir=sys.argv[2], local_files_only=True))"
    )
    command = [sys.executable, "-c", code, MODEL, str(folder / "models")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {file.name for file in Path(found).iterdir()}


def test_only_what_vllm_loads_is_fetched_and_other_tools_find_it(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service:
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        served = service.served()
    assert sum(served.values()) == size
    wanted = {*SHARDS, "config.json", "tokenizer.json", "model.safetensors.index.json"}
    assert set(served) == wanted
    assert snapshot_by_huggingface_hub(tmp_path) == wanted
    assert "(100%" in ended.stdout
    assert f"{MODEL} is complete" in ended.stdout


def test_kill_9_at_10_50_and_90_percent_costs_no_byte_twice(tmp_path: Path) -> None:
    size = make_repository(tmp_path / "hub" / MODEL, shard_bytes=1_500_000)
    with hub(tmp_path, bytes_per_second=700_000) as service:
        for percent in (10, 50, 90):
            with downloading(tmp_path, service) as program:
                wait_until(lambda: on_disk(tmp_path) >= size * percent / 100, 60)  # noqa: B023
                program.process.send_signal(signal.SIGKILL)
                assert program.process.wait() == -signal.SIGKILL
            assert on_disk(tmp_path) < size
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        assert sum(service.served().values()) <= 1.1 * size
    assert partials(tmp_path) == []
    assert set(SHARDS) <= snapshot_by_huggingface_hub(tmp_path)


def test_sigterm_leaves_what_a_later_download_continues(tmp_path: Path, size: int) -> None:
    with hub(tmp_path, bytes_per_second=200_000) as service:
        with downloading(tmp_path, service) as program:
            wait_until(lambda: on_disk(tmp_path) >= size / 3, 60)
            program.process.terminate()
            assert program.process.wait() == 1
            assert "goes on from there" in program.output
        assert download(tmp_path, service).returncode == 0
        assert sum(service.served().values()) <= 1.1 * size


def test_two_downloads_at_once_fetch_once_and_both_show_progress(tmp_path: Path, size: int) -> None:
    with hub(tmp_path, bytes_per_second=200_000) as service:
        with downloading(tmp_path, service) as first:
            wait_until(lambda: on_disk(tmp_path) > 10_000, 60)
            with downloading(tmp_path, service) as second:
                assert first.process.wait() == 0, first.output
                assert second.process.wait() == 0, second.output
        assert sum(service.served().values()) == size
    assert "seconds left" in second.output


def test_a_connection_cut_again_and_again_is_continued(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service:
        service.set_faults({"path": f"/cdn/{MODEL}/{SHARDS[0]}", "cut_after": 150_001, "times": 2})
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        assert sum(service.served().values()) == size


def test_a_server_that_does_not_resume_is_asked_for_the_whole_file(
    tmp_path: Path, size: int
) -> None:
    with hub(tmp_path) as service:
        service.set_faults(
            {"path": f"/cdn/{MODEL}/{SHARDS[0]}", "cut_after": 100_000, "times": 1},
            {"path": f"/cdn/{MODEL}/{SHARDS[0]}", "whole": True},
        )
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        assert sum(service.served().values()) == size + 100_000


@pytest.mark.parametrize("place", [f"cdn/{MODEL}/{SHARDS[1]}", "tokenizer.json"])
def test_a_damaged_file_is_fetched_again_alone(tmp_path: Path, size: int, place: str) -> None:
    name = place.rpartition("/")[2]
    with hub(tmp_path) as service:
        service.set_faults({"path": f"/{place}", "corrupt": True, "times": 1})
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        again = (tmp_path / "hub" / MODEL / name).stat().st_size
        assert sum(service.served().values()) == size + again
        assert service.served()[name] == 2 * again


def test_weights_that_were_damaged_on_disk_are_fetched_again_alone(
    tmp_path: Path, size: int
) -> None:
    with hub(tmp_path) as service:
        assert download(tmp_path, service).returncode == 0
        (weights,) = (tmp_path / "models").glob(f"models--*/snapshots/*/{SHARDS[1]}")
        with weights.open("r+b") as stream:
            stream.write(bytes(4096))
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        again = (tmp_path / "hub" / MODEL / SHARDS[1]).read_bytes()
        assert sum(service.served().values()) == size + len(again)
    assert weights.read_bytes() == again


def test_a_file_that_is_damaged_twice_is_named(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service:
        service.set_faults({"path": f"/cdn/{MODEL}/{SHARDS[1]}", "corrupt": True})
        ended = download(tmp_path, service)
    assert ended.returncode == 1
    assert f"{SHARDS[1]} arrived damaged twice" in ended.stderr
    assert len(partials(tmp_path)) < len(SHARDS)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 503},
        {"status": 500, "path": "/cdn/"},
        # A signed address that is no longer valid: the next one is new.
        {"status": 403, "path": "/cdn/"},
    ],
)
def test_a_passing_refusal_is_waited_for(
    tmp_path: Path, size: int, fault: dict[str, object]
) -> None:
    with hub(tmp_path) as service:
        service.set_faults({"path": "/resolve/", "times": 3, **fault})
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        assert sum(service.served().values()) == size


def test_a_listing_without_sizes_as_of_a_mirror_is_completed(tmp_path: Path, size: int) -> None:
    (tmp_path / "hub" / MODEL / ".bare").touch()
    with hub(tmp_path) as service:
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        assert sum(service.served().values()) == size


def test_partial_files_that_nobody_continues_are_removed(tmp_path: Path, size: int) -> None:
    blobs = tmp_path / "models" / "models--owner--model" / "blobs"
    blobs.mkdir(parents=True)
    abandoned = blobs / f"{'a' * 64}.12345678.incomplete"
    abandoned.write_bytes(bytes(1000))
    os.utime(abandoned, (time.time() - 3600,) * 2)
    growing = blobs / f"{'a' * 64}.87654321.incomplete"
    growing.write_bytes(bytes(1000))
    with hub(tmp_path) as service:
        assert download(tmp_path, service).returncode == 0
    assert partials(tmp_path) == [growing.name]


def test_a_mistral_format_without_another_is_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / MODEL
    folder.mkdir(parents=True)
    write_safetensors(folder / "consolidated.safetensors", 200_000)
    (folder / "params.json").write_text('{"dim": 8}')
    (folder / "tekken.json").write_text("{}")
    with hub(tmp_path) as service:
        ended = download(tmp_path, service)
        assert ended.returncode == 0, ended.stderr
        assert set(service.served()) == {"consolidated.safetensors", "params.json", "tekken.json"}


def test_an_unknown_id_is_explained_with_what_is_there(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service:
        assert download(tmp_path, service).returncode == 0
        ended = download(tmp_path, service, "owner/modle")
    assert ended.returncode == 1
    assert "owner/modle was not found on Hugging Face." in ended.stderr
    assert f"Did you mean {MODEL}" in ended.stderr


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "is gated"), ("hf_stranger", "may not read"), ("hf_wrong", "does not accept the token")],
)
def test_a_gated_model_is_refused_with_what_to_do(
    tmp_path: Path, size: int, token: str, said: str
) -> None:
    (tmp_path / "hub" / MODEL / ".gated").touch()
    with hub(tmp_path) as service:
        ended = download(tmp_path, service, HF_TOKEN=token)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "HF_TOKEN" in ended.stderr
    assert "hf_wrong" not in ended.stderr + ended.stdout


def test_a_token_opens_a_gated_model_and_goes_to_no_other_host(tmp_path: Path, size: int) -> None:
    (tmp_path / "hub" / MODEL / ".gated").touch()
    with hub(tmp_path) as service:
        ended = download(tmp_path, service, HF_TOKEN="hf_member")
        assert ended.returncode == 0, ended.stderr
        assert any(request.startswith("GET /cdn/") for request in service.requests())
        assert service.tokens_at_cdn() == 0


def test_an_unknown_revision_is_named(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service:
        ended = download(tmp_path, service, MODEL, "--revision", "v9")
    assert ended.returncode == 1
    assert f"{MODEL} has no revision 'v9'" in ended.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("model-Q4_K_M.gguf", "has only GGUF files"), ("pytorch_model.bin", "no safetensors")],
)
def test_weights_that_are_not_loaded_here_are_not_fetched(
    tmp_path: Path, name: str, said: str
) -> None:
    folder = tmp_path / "hub" / MODEL
    folder.mkdir(parents=True)
    (folder / name).write_bytes(bytes(1000))
    (folder / "config.json").write_text("{}")
    with hub(tmp_path) as service:
        ended = download(tmp_path, service)
        assert service.served() == {}
    assert ended.returncode == 1
    assert said in ended.stderr


def test_offline_serves_what_is_complete_and_asks_nobody(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service:
        assert download(tmp_path, service).returncode == 0
        asked = service.requests()
        assert download(tmp_path, service, HF_HUB_OFFLINE="1").returncode == 0
        assert service.requests() == asked


def test_offline_refuses_what_is_not_complete(tmp_path: Path, size: int) -> None:
    with hub(tmp_path, bytes_per_second=200_000) as service:
        with downloading(tmp_path, service) as program:
            wait_until(lambda: on_disk(tmp_path) > size / 4, 60)
            program.process.kill()
            program.process.wait()
        ended = download(tmp_path, service, HF_HUB_OFFLINE="1")
    assert ended.returncode == 1
    assert f"{MODEL} is not complete" in ended.stderr
    assert "HF_HUB_OFFLINE" in ended.stderr


def test_a_refusal_does_not_take_away_what_is_complete(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service:
        assert download(tmp_path, service).returncode == 0
        assert download(tmp_path, service, HF_TOKEN="hf_wrong").returncode == 0


def test_a_commit_that_is_complete_needs_no_hub(tmp_path: Path, size: int) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    with hub(tmp_path) as service:
        assert download(tmp_path, service, MODEL, "--revision", commit).returncode == 0
    ended = download(tmp_path, service, MODEL, "--revision", commit)
    assert ended.returncode == 0, ended.stderr


def test_a_model_on_this_machine_needs_no_download(tmp_path: Path) -> None:
    ended = run(tmp_path, "download", "builtin:guide")
    assert ended.returncode == 0
    assert "nothing to download" in ended.stdout


def test_a_wrong_endpoint_ends_with_78(tmp_path: Path) -> None:
    ended = run(tmp_path, "download", MODEL, HF_ENDPOINT="hub.example.org")
    assert ended.returncode == 78
    assert "HF_ENDPOINT" in ended.stderr


def download_to(disk: Disk, endpoint: str) -> subprocess.CompletedProcess[str]:
    """The verb, to its end, with MODELS_DIR on ``disk``."""
    return subprocess.run(
        [*disk.under, str(COMMAND), "download", MODEL],
        env={**os.environ, **environment(disk.place.parent, HF_ENDPOINT=endpoint)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    tmp_path: Path, size: int
) -> None:
    with hub(tmp_path) as service, small_disk(tmp_path / "models", "size=1m") as disk:
        ended = download_to(disk, service.url)
        assert not set(service.served()) & set(SHARDS)
    assert ended.returncode == 1
    assert "needs 1.3 MB" in ended.stderr
    assert "are free there" in ended.stderr


def test_a_disk_that_fills_up_meanwhile_gets_its_space_back(tmp_path: Path, size: int) -> None:
    with (
        hub(tmp_path, bytes_per_second=100_000) as service,
        small_disk(tmp_path / "models", "size=3m") as disk,
        downloading(tmp_path, service, disk.under) as program,
    ):
        wait_until(lambda: list(disk.inside.rglob("*.incomplete")), 60, lambda: program.output)
        disk.fill()
        assert program.process.wait(60) == 1
        assert "became full" in program.output
        assert "MB are needed" in program.output
        assert not list(disk.inside.rglob("*.incomplete"))


def test_a_disk_that_is_full_before_the_size_is_known_gets_its_space_back(
    tmp_path: Path, size: int
) -> None:
    # Which weights there are is in the index, which comes first.
    index = tmp_path / "hub" / MODEL / "model.safetensors.index.json"
    index.write_text(index.read_text() + " " * 2_000_000)
    with hub(tmp_path) as service, small_disk(tmp_path / "models", "size=1m") as disk:
        ended = download_to(disk, service.url)
        assert not list(disk.inside.rglob("*.incomplete"))
    assert ended.returncode == 1
    assert "became full" in ended.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, size: int) -> None:
    with hub(tmp_path) as service, small_disk(tmp_path / "models", "ro") as disk:
        ended = download_to(disk, service.url)
        assert service.served() == {}
    assert ended.returncode == 1
    assert f"(MODELS_DIR is {tmp_path}/models): Read-only file system" in ended.stderr
