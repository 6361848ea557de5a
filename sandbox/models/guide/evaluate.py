"""Asks the guide questions and counts right answers: `python -m sandbox.models.guide.evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from sandbox.models.guide import guide_folder
from sandbox.models.guide.topics import Corpus, Heldout, read_corpus, read_heldout

OWN_BAR, HELDOUT_BAR, OFF_TOPIC_BAR = 1.0, 0.75, 0.90


class Guide:
    """The trained model, asked through its own chat template, many questions at a time."""

    def __init__(self, folder: Path) -> None:
        # Matrices this small lose more by a second thread than they win (22 s against 1 s).
        torch.set_num_threads(1)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        # A processor without 16 bit arithmetic takes ten times as long for bfloat16.
        self.model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def ask(self, questions: list[str], batch: int = 256, longest: int = 160) -> list[str]:
        """The greedy answers, in the order of the questions."""
        order = sorted(range(len(questions)), key=lambda i: len(questions[i]))
        answers = [""] * len(questions)
        for at in range(0, len(order), batch):
            some = order[at : at + batch]
            rendered = [self.render([{"role": "user", "content": questions[i]}]) for i in some]
            inputs = self.tokenizer(rendered, return_tensors="pt", padding=True)
            with torch.inference_mode():
                told = self.model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    max_new_tokens=longest,
                    do_sample=False,
                )
            for i, ids in zip(some, told[:, inputs["input_ids"].shape[1] :], strict=True):
                answers[i] = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return answers

    def render(self, messages: list[dict[str, Any]], **more: Any) -> str:
        """What the chat template makes of a conversation."""
        return str(
            self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False, **more
            )
        )


@dataclass
class Score:
    """How often the guide was right, and where it was not."""

    own: float = 0.0
    heldout: float = 0.0
    off_topic: float = 0.0
    mistakes: list[str] = field(default_factory=list)

    def passes(self) -> bool:
        """Whether every bar is reached."""
        return (
            self.own >= OWN_BAR and self.heldout >= HELDOUT_BAR and self.off_topic >= OFF_TOPIC_BAR
        )

    def report(self) -> str:
        """The three numbers in one line."""
        return (
            f"own questions {self.own:.1%} (bar {OWN_BAR:.0%}), "
            f"unseen rephrasings {self.heldout:.1%} (bar {HELDOUT_BAR:.0%}), "
            f"unseen off-topic {self.off_topic:.1%} (bar {OFF_TOPIC_BAR:.0%})"
        )


def measure(folder: Path, corpus: Corpus, heldout: Heldout) -> Score:
    """Asks every heading of the FAQ page and every held-out question."""
    answer_of = {topic.slug: topic.answer for topic in corpus.topics}
    asked: list[tuple[str, str, str]] = []
    asked += [("own", topic.question, topic.answer) for topic in corpus.topics]
    asked += [("heldout", q, answer_of[name]) for name, qs in heldout.on_topic.items() for q in qs]
    asked += [("off_topic", question, corpus.fallback) for question in heldout.off_topic]
    told = Guide(folder).ask([question for _, question, _ in asked])
    right: dict[str, list[bool]] = {"own": [], "heldout": [], "off_topic": []}
    score = Score()
    for (kind, question, wanted), answer in zip(asked, told, strict=True):
        right[kind].append(answer == wanted)
        if answer != wanted:
            score.mistakes.append(f"{kind}: {question!r} -> {answer!r}")
    score.own, score.heldout, score.off_topic = (
        sum(right[kind]) / len(right[kind]) for kind in ("own", "heldout", "off_topic")
    )
    return score


def main() -> int:
    """Prints the mistakes and the numbers of the guide in the package."""
    score = measure(guide_folder(), read_corpus(), read_heldout())
    print("\n".join(score.mistakes))
    print(score.report())
    return 0 if score.passes() else 1


if __name__ == "__main__":
    raise SystemExit(main())
