"""Trains the guide on the FAQ page and writes its folder; `make guide` runs it."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sandbox.models.guide import guide_folder
from sandbox.models.guide.evaluate import measure
from sandbox.models.guide.lessons import IGNORED, Batch, Lessons, Plan
from sandbox.models.guide.tokenizer import CONTEXT_LENGTH, END, PAD, START, train_tokenizer
from sandbox.models.guide.topics import Corpus, fingerprint, leaked, read_corpus, read_heldout

# One thread is as fast as two for matrices this small, and does not suffer on a busy machine.
THREADS = 1
WARM_UP = 200


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama small enough to ship: under four million parameters."""
    start, end, pad = (int(tokenizer.vocab[name]) for name in (START, END, PAD))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        initializer_range=0.02,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=pad,
    )
    return LlamaForCausalLM(config)  # type: ignore[no-untyped-call]


def add_dropout(model: LlamaForCausalLM, share: float) -> list[torch.utils.hooks.RemovableHandle]:
    """Llama has no dropout of its own; the handles take it out again."""

    def drop(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(output, share)

    places: list[torch.nn.Module] = [model.model.embed_tokens]
    for layer in model.model.layers:
        places += [layer.self_attn.o_proj, layer.mlp.down_proj]
    return [place.register_forward_hook(drop) for place in places]


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the answer tokens; logits are computed only where a label is."""
    ids, labels = batch
    wanted = labels[:, 1:]
    kept = wanted != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        logits = model.lm_head(hidden[kept])
    return torch.nn.functional.cross_entropy(logits.float(), wanted[kept])


def learn(model: LlamaForCausalLM, lessons: Lessons, plan: Plan) -> None:
    """Trains in place and leaves the running average of the weights, which generalises better."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": plan.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=plan.learning_rate,
        betas=(0.9, 0.98),
    )
    averages = [p.detach().clone() for p in model.parameters()]
    handles = add_dropout(model, plan.dropout)
    model.train()
    began = time.monotonic()
    for step, batch in enumerate(lessons.batches(plan.steps), 1):
        cosine = 0.51 + 0.49 * math.cos(math.pi * step / plan.steps)
        rate = plan.learning_rate * min(1.0, step / WARM_UP) * cosine
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        share = min(plan.average, step / (step + 10))
        for average, parameter in zip(averages, model.parameters(), strict=True):
            average.lerp_(parameter.detach(), 1 - share)
        if step == 1 or step % 100 == 0:
            spent = time.monotonic() - began
            say(f"step {step} of {plan.steps}, loss {loss.item():.3f}, {spent:.0f} s")
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for average, parameter in zip(averages, model.parameters(), strict=True):
            parameter.copy_(average)


def write_folder(
    folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, corpus: Corpus
) -> None:
    """Writes what vLLM and transformers load, and which FAQ page it was made from."""
    folder.mkdir(parents=True, exist_ok=True)
    model.bfloat16()
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    # vLLM takes a client's missing temperature from here; transformers refuses to write a 0.0.
    defaults: dict[str, Any] = {
        "do_sample": False,
        "temperature": 0.0,
        "bos_token_id": model.config.bos_token_id,
        "eos_token_id": model.config.eos_token_id,
        "pad_token_id": model.config.pad_token_id,
    }
    write_json(folder / "generation_config.json", defaults)
    tokenizer.save_pretrained(folder)
    made_from = {
        "topics": len(corpus.topics),
        "fingerprint": fingerprint(corpus.topics, corpus.fallback),
    }
    write_json(folder / "topics.json", made_from)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """As transformers writes it: indented, with a newline at the end."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Trains, writes, measures; exits with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="make guide", description=__doc__)
    parser.add_argument("--out", type=Path, default=guide_folder(), help="the folder to write")
    parser.add_argument("--steps", type=int, default=Plan.steps, help="fewer is faster and worse")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    options = parser.parse_args(arguments)
    plan = Plan(steps=options.steps, seed=options.seed)
    torch.manual_seed(plan.seed)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    corpus = read_corpus()
    heldout = read_heldout()
    if copied := leaked(corpus, heldout):
        print(f"these held-out questions are in the training data: {copied}", file=sys.stderr)
        return 1
    texts = [topic.answer for topic in corpus.topics] * 4 + [corpus.fallback]
    texts += [" " + question.lower() for question in corpus.training_questions()]
    tokenizer = train_tokenizer(texts)
    model = build_model(tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    say(f"{len(corpus.topics)} topics, {len(tokenizer)} tokens, {parameters:,} parameters")
    learn(model, Lessons(corpus, tokenizer, plan), plan)
    write_folder(options.out, model, tokenizer, corpus)
    score = measure(options.out, corpus, heldout)
    say(score.report())
    return 0 if score.passes() else 1


def say(line: str) -> None:
    """Progress, at once even into a pipe."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
