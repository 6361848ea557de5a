"""Turns each known question into the many ways in which people type it."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

from sandbox.models.guide.topics import Corpus

VOCABULARY = Path(__file__).parent / "vocabulary.toml"
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SYLLABLES = [c + v for c in "bdfgklmnprstvwz" for v in "aeiou"] + ["stra", "plo", "quin", "ske"]


class Augmenter:
    """Draws training questions; the same seed draws the same ones."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        words = tomllib.loads(VOCABULARY.read_text(encoding="utf-8"))
        self.random = random.Random(seed)
        self.synonyms: dict[str, list[list[str]]] = {}
        for group in words["synonyms"]:
            for phrase in group:
                self.synonyms.setdefault(phrase, []).append(group)
        self.longest = max(len(phrase.split()) for phrase in self.synonyms)
        self.before: list[str] = words["before"]
        self.after: list[str] = words["after"]
        self.light = set(words["light"])
        self.frames: list[str] = words["frames"]
        self.nouns: list[str] = words["nouns"]
        self.questions = [
            (topic.question, *corpus.rephrasings[topic.slug]) for topic in corpus.topics
        ]
        self.offtopic = corpus.offtopic

    def on_topic(self, index: int) -> str:
        """One way to ask topic number `index`."""
        known = self.questions[index]
        if self.random.random() < 0.08:
            return known[0]
        return self.vary(self.random.choice(known))

    def off_topic(self) -> str:
        """One question that is not ours to answer."""
        draw = self.random.random()
        if draw < 0.50:
            return self.vary(self.random.choice(self.offtopic))
        if draw < 0.90:
            return self.vary(self.framed())
        if draw < 0.94:
            return " ".join(self.nonsense() for _ in range(self.random.randint(1, 6)))
        some = self.random.randint(2, 12)
        return " ".join(self.random.choice(self.offtopic) for _ in range(some))

    def framed(self) -> str:
        """A question in the shape of ours about a thing that is not ours."""
        frame = self.random.choice(self.frames)
        things = [
            self.random.choice(self.nouns) if self.random.random() < 0.9 else self.nonsense()
            for _ in range(frame.count("{}"))
        ]
        return frame.format(*things)

    def nonsense(self) -> str:
        """A word that does not exist."""
        return "".join(self.random.choices(SYLLABLES, k=self.random.randint(2, 4)))

    def vary(self, question: str) -> str:
        """The question as another person would type it: other words, fillers, haste, typos."""
        text = question.lower()
        if self.random.random() < 0.55:
            text = self.swap_synonyms(text, 0.35)
        if self.random.random() < 0.25:
            text = self.drop_light_words(text)
        if self.random.random() < 0.05:
            text = self.shuffle(text)
        mark = text[-1:] if text[-1:] in "?!." else ""
        text = text.rstrip("?!. ") or text
        if self.random.random() < 0.18:
            text = self.random.choice(self.before) + self.random.choice((" ", ", ")) + text
        if self.random.random() < 0.12:
            text = text + self.random.choice((" ", ", ")) + self.random.choice(self.after)
        if self.random.random() < 0.25:
            for _ in range(1 + len(text) // 40):
                text = self.typo(text)
        if self.random.random() < 0.3:
            text = text.replace("'", "")
        if self.random.random() < 0.6:
            mark = self.random.choice(("", "", "?", "?", "??", "!", ".", " ?"))
        return text + mark

    def swap_synonyms(self, text: str, share: float) -> str:
        """Replaces words and phrases by ones of the same meaning, the longest phrase first."""
        words = text.split()
        result: list[str] = []
        at = 0
        while at < len(words):
            for length in range(min(self.longest, len(words) - at), 0, -1):
                phrase = " ".join(words[at : at + length])
                bare = phrase.rstrip("?!.,")
                if bare in self.synonyms and self.random.random() < share:
                    group = self.random.choice(self.synonyms[bare])
                    result.append(self.random.choice(group) + phrase[len(bare) :])
                    at += length
                    break
            else:
                result.append(words[at])
                at += 1
        return " ".join(result)

    def drop_light_words(self, text: str) -> str:
        """Leaves out some of the words that carry little, and never all words."""
        kept = [w for w in text.split() if w not in self.light or self.random.random() < 0.4]
        return " ".join(kept) or text

    def shuffle(self, text: str) -> str:
        """Exchanges two neighbouring words."""
        words = text.split()
        if len(words) > 2:
            at = self.random.randrange(len(words) - 1)
            words[at], words[at + 1] = words[at + 1], words[at]
        return " ".join(words)

    def typo(self, text: str) -> str:
        """One slip of the fingers inside a word of four letters or more."""
        long_words = [i for i, word in enumerate(text.split(" ")) if len(word) >= 4]
        if not long_words:
            return text
        words = text.split(" ")
        which = self.random.choice(long_words)
        word = words[which]
        at = self.random.randrange(1, len(word) - 1)
        kind = self.random.randrange(4)
        if kind == 0:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        elif kind == 1:
            word = word[:at] + word[at + 1 :]
        elif kind == 2:
            word = word[:at] + word[at] + word[at:]
        else:
            word = word[:at] + self.neighbour(word[at]) + word[at + 1 :]
        words[which] = word
        return " ".join(words)

    def neighbour(self, letter: str) -> str:
        """The key next to this one."""
        for row in KEYBOARD:
            at = row.find(letter)
            if at >= 0:
                return row[at - 1] if at else row[at + 1]
        return letter
