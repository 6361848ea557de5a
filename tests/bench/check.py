"""Our load generator beside vLLM's own, `vllm bench serve`, on the same server: do they agree?

vLLM's costs more CPU than the server that it measures, so that on two cores it lowers what it
measures when many streams run; with few streams it does not.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from sandbox.models.guide import guide_folder
from tests.bench.servers import Server
from tests.bench.streaming import Cost, Crowd, measure, median
from tests.process.api_service import GUIDE

_TOKENS = 128
_TIMES = 3
# The command `vllm` does not start in the CPU build, which has no distribution of that name.
_VLLM_BENCH = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
_FIGURES = {
    "tokens/s": ("output_throughput", "tokens_per_second", 1.0),
    "TTFT p50, ms": ("median_ttft_ms", "ttft_p50", 1e3),
    "ITL p99, ms": ("p99_itl_ms", "itl_p99", 1e3),
}


def against_vllm(server: Server, folder: Path) -> str:
    """A table of what both say of ``server``, for few streams and for many."""
    lines = [
        "| streams | figure | vllm bench serve | ours | ours/vLLM's |",
        "|---|---|---|---|---|",
    ]
    for streams in (2, 64):
        ours: list[Cost] = []
        vllms: list[dict[str, float]] = []
        for _ in range(_TIMES):
            ours.append(measure(server, Crowd(2 * streams, streams, _TOKENS)))
            vllms.append(_vllm_bench(server, folder, streams))
        for figure, (theirs, name, scale) in _FIGURES.items():
            said = statistics.median(found[theirs] for found in vllms)
            mine = scale * median(ours, name)
            lines.append(
                f"| {streams} | {figure} | {said:,.1f} | {mine:,.1f} | {mine / said:.2f} |"
            )
    return "\n".join(lines)


def _vllm_bench(server: Server, folder: Path, streams: int) -> dict[str, float]:
    file = folder / "vllm-bench.json"
    command = [sys.executable, "-W", "ignore", "-c", _VLLM_BENCH]
    command += ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions"]
    command += ["--host", "127.0.0.1", "--port", str(server.port), "--model", GUIDE]
    command += ["--tokenizer", str(guide_folder()), "--dataset-name", "random"]
    command += ["--random-input-len", "16", "--random-output-len", str(_TOKENS), "--ignore-eos"]
    command += ["--num-prompts", str(2 * streams), "--max-concurrency", str(streams)]
    command += ["--disable-tqdm", "--save-result"]
    command += ["--result-dir", str(folder), "--result-filename", file.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, float] = json.loads(file.read_text())
    return found
