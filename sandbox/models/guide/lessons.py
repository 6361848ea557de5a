"""Makes the batches that the guide is trained on, and says how they are mixed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from sandbox.models.guide.augment import Augmenter
from sandbox.models.guide.shapes import random_json
from sandbox.models.guide.tokenizer import END, START, prompt
from sandbox.models.guide.topics import Corpus

IGNORED = -100
POOLED = 8
RECITING = 2
# Token ids and labels.
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """How the guide is trained; the defaults are the ones that shipped."""

    steps: int = 3000
    seed: int = 20
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.1
    dropout: float = 0.12
    cut_share: float = 0.3
    bare_share: float = 0.03
    choosing_batch: int = 96
    reciting_batch: int = 24
    off_topic_share: float = 0.20
    json_share: float = 0.06
    average: float = 0.998


class Lessons:
    """Batches of token ids with labels on the answer only.

    The choice of the answer is made in its first tokens, and most lessons are cut there: choosing
    needs far more practice than reciting.
    """

    def __init__(self, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.augmenter = Augmenter(corpus, plan.seed)
        self.core = tokenizer.backend_tokenizer
        self.pad = int(tokenizer.pad_token_id)
        answers = [topic.answer for topic in corpus.topics] + [corpus.fallback]
        self.answers = [self.core.encode(answer + END).ids for answer in answers]
        self.choices = [self.choice_length(ids) for ids in self.answers]
        self.queue: list[int] = []
        own = " ".join(topic.question for topic in corpus.topics)
        self.words = sorted(set(re.findall(r"\w+", own + " ready failed city name value yes no")))

    def choice_length(self, ids: list[int]) -> int:
        """How many tokens of an answer are needed to tell it from all the others."""
        shared = 0
        for other in self.answers:
            if other is not ids:
                same = 0
                while same < min(len(ids), len(other)) and ids[same] == other[same]:
                    same += 1
                shared = max(shared, same)
        return min(shared + 1, len(ids))

    def next_topic(self) -> int:
        """Every topic comes once before any comes again; the last number means off topic."""
        if self.random.random() < self.plan.off_topic_share:
            return len(self.answers) - 1
        if not self.queue:
            self.queue = list(range(len(self.answers) - 1))
            self.random.shuffle(self.queue)
        return self.queue.pop()

    def encode_question(self, question: str) -> list[int]:
        """The prompt's ids; some words are cut at unusual places, as unknown words will be.

        The tokenizer's own merge dropout would do that too, but takes no seed.
        """
        text = prompt(question)
        if self.random.random() < self.plan.bare_share:
            text = self.random.choice((question, f" {question}", f"{question}\n"))
        pieces = [text]
        if self.random.random() < self.plan.cut_share:
            pieces = [START, *self.cut(question), END]
        return [number for piece in pieces for number in self.core.encode(piece).ids][-400:]

    def cut(self, question: str) -> list[str]:
        """The question in pieces that end inside of words."""
        pieces = [" "]
        for letter in question.strip().lower():
            inside = letter.isalnum() and pieces[-1][-1:].isalnum()
            if inside and self.random.random() < 0.08:
                pieces.append("")
            pieces[-1] += letter
        return pieces

    def lesson(self, whole: bool) -> tuple[list[int], int]:
        """Token ids of one question with its answer, and how many of them are the question."""
        if whole and self.random.random() < self.plan.json_share:
            return self.json_lesson()
        topic = self.next_topic()
        off = topic == len(self.answers) - 1
        question = self.augmenter.off_topic() if off else self.augmenter.on_topic(topic)
        asked = self.encode_question(question)
        told = self.answers[topic] if whole else self.answers[topic][: self.choices[topic]]
        return asked + told, len(asked)

    def json_lesson(self) -> tuple[list[int], int]:
        """JSON as the answer to anything; its opening is not learned, a grammar forces that."""
        off = self.random.random() < 0.5
        topic = self.random.randrange(len(self.answers) - 1)
        question = self.augmenter.off_topic() if off else self.augmenter.on_topic(topic)
        text = random_json(self.random, self.words)
        told = list(self.core.encode(text[0]).ids + self.core.encode(text[1:] + END).ids)
        if self.random.random() < 0.5:
            told = list(self.core.encode(text + END).ids)
        asked = self.encode_question(question) + told[:1]
        return asked + told[1:], len(asked)

    def batches(self, steps: int) -> Iterator[Batch]:
        """All batches of the training; every other one recites whole answers.

        Lessons of similar length come together: padding would cost more than half the time.
        """
        pool: dict[bool, list[Batch]] = {False: [], True: []}
        for step in range(1, steps + 1):
            whole = step % RECITING == 0
            if not pool[whole]:
                size = self.plan.reciting_batch if whole else self.plan.choosing_batch
                drawn = [self.lesson(whole) for _ in range(size * POOLED)]
                drawn.sort(key=lambda lesson: len(lesson[0]))
                pool[whole] = [
                    self.collate(drawn[at : at + size]) for at in range(0, len(drawn), size)
                ]
                self.random.shuffle(pool[whole])
            yield pool[whole].pop()

    def collate(self, rows: list[tuple[list[int], int]]) -> Batch:
        """Padded on the right, where causal attention never looks: no mask is needed."""
        width = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), width), self.pad)
        labels = torch.full((len(rows), width), IGNORED)
        for row, (tokens, asked) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, asked : len(tokens)] = torch.tensor(tokens[asked:])
        return ids, labels
