"""Writes docs/reference/plan.md: what ``ai-sandbox plan`` says of well-known models."""

from __future__ import annotations

import sys
from pathlib import Path

from sandbox.models.plan import facts
from sandbox.models.plan.decide import Plan, decide
from sandbox.models.plan.known import candidate_of
from sandbox.models.plan.machine import from_gpus
from sandbox.models.plan.words import billions, gib

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/plan.md"
# The GPU plans of Akamai Cloud: one, two or four RTX 4000 Ada, or one RTX PRO 6000.
COLUMNS = ("20GB", "20GB x2", "20GB x4", "96GB")

_TOP = """\
# What fits

<!-- Written by `make reference` from sandbox/models/plan/page.py. -->

`ai-sandbox plan MODEL_ID` says whether a model fits a machine and how it would be served. It reads
the model's `config.json` and the headers of its weights, and downloads nothing else:

```sh
ai-sandbox plan Qwen/Qwen3-8B                          # on this machine
ai-sandbox plan Qwen/Qwen3-8B --gpu 20GB x2            # on two GPUs of 20 GB
ai-sandbox plan Qwen/Qwen3-8B --plan g2-gpu-rtx4000a1-s --json
```

The service decides by the same plan when it starts, and its status shows the numbers. A model that
cannot be served is refused before it is downloaded, with what would help.

## Well-known models
The context length in tokens; *xN* is over how many GPUs the weights are split, *fp8* that they are
quantized to 8 bits while they load. All settings are `auto`.

"""
_BOTTOM = """
Configs and sizes of these models are data (`sandbox/models/plan/data/well_known.json`), written
from what their repositories are known to have, and counted by building each model without memory;
a test compares the numbers with vLLM's own. No GPU was used for this table.

## How it is decided
- vLLM takes 92% of the memory that CUDA reports (`GPU_MEMORY_UTILIZATION`), which is about 2% less
  than the GPU has. The weights go off that, and 3% of them for copies.
- 2 GiB on each GPU go off for CUDA, the workspaces of kernels and CUDA graphs, and what one batch
  takes while it is computed, by the model's width and vocabulary. What is left is the KV cache,
  in which one request of full length must fit.
- Fewer GPUs are better than more, as long as the whole context fits; the rest stays free.
- Weights are left as they are when a context of 8,192 tokens fits (or the model's own, if that is
  shorter). Otherwise they are quantized to 8 bits while they load, where the GPU computes in 8 bits
  (Ada, Hopper, Blackwell) and they are not quantized already.
- A context below 2,048 tokens counts as not fitting.
- If vLLM then measures less room than was planned, the service starts again, once, with the context
  that vLLM names.
- Without a GPU, the weights must fit in memory, and the KV cache is given an eighth of it, at most
  2 GiB. A processor without 16 bit floats (x86 without AVX-512) computes in 32 bits where the
  model then still fits; `--dtype bfloat16` in `VLLM_EXTRA_ARGS` has it otherwise.

What a setting fixes is kept, and the rest is decided around it. `VLLM_EXTRA_ARGS` wins over all:
with it, a model that does not fit by the plan is tried all the same.

## The numbers
- `weight_bytes`: the weights in memory, loaded as they are: 32 bit weights are loaded in 16 bits,
  and what vLLM does not load is not counted.
- `kv_bytes_per_token`: what one more token takes of the KV cache before it is split, within every
  sliding window. Where a model has kinds of layers that are not equally many, vLLM fills their
  groups up with layers of nothing, which count.
- `concurrency`: how many requests of full length fit at once. Shorter ones share the same cache.
- `loaded_weight_bytes_per_device`, `kv_cache_bytes_per_device`: as decided, on each GPU.
- `download_seconds`: at 60 MB/s, which is what such machines were seen to reach.

## Linode plans
Plan names, prices and sizes are a table in the program, of which prices and the sizes of RAM are
what third parties list; ask Akamai before you count on them.

| plan | GPUs | memory of each | US$ an hour |
|---|---|---|---|
"""


def page() -> str:
    """docs/reference/plan.md."""
    heads = " | ".join(name.replace("GB", " GB").replace(" x", " x ") for name in COLUMNS)
    lines = [f"| model | parameters | weights | KiB a token | {heads} |"]
    lines.append("|---|---|---|---|" + "---|" * len(COLUMNS))
    for name in facts.well_known():
        candidate = candidate_of(name)
        plans = [decide(candidate, from_gpus(gpus)) for gpus in COLUMNS]
        token = plans[0].as_json()["kv_bytes_per_token"] / 1024
        cells = [
            f"`{name}`",
            billions(candidate.weights.parameters),
            gib(candidate.weights.bytes),
            f"{token:g}",
            *map(_cell, plans),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rows = [
        f"| `{name}` | {p['gpus']} x {p['gpu']} | {p['gpu_gb']} GB | {p['hourly']:.2f} |"
        for name, p in facts.linode_plans().items()
    ]
    return _TOP + "\n".join(lines) + "\n" + _BOTTOM + "\n".join(rows) + "\n"


def _cell(plan: Plan) -> str:
    if plan.way is None:
        return "no"
    parts = [f"{plan.context_length:,}"]
    if plan.way.tensor_parallel > 1:
        parts.append(f"x{plan.way.tensor_parallel}")
    if plan.way.quantization:
        parts.append("fp8")
    return " ".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
