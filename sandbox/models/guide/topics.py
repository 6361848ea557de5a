"""Reads the FAQ page, one topic per question, and the questions that go with it."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FAQ = ROOT / "docs" / "faq.md"
HELDOUT = ROOT / "tests" / "unit" / "guide" / "heldout.toml"
REPHRASINGS = HERE / "rephrasings.toml"
OFFTOPIC = HERE / "offtopic.toml"


@dataclass(frozen=True)
class Topic:
    """One question of the FAQ page and its answer."""

    slug: str
    question: str
    answer: str


@dataclass(frozen=True)
class Corpus:
    """All that the guide learns from: topics, ways to ask them, and where its knowledge ends."""

    topics: tuple[Topic, ...]
    rephrasings: dict[str, tuple[str, ...]]
    offtopic: tuple[str, ...]
    fallback: str

    def training_questions(self) -> list[str]:
        """Every question that training may show to the model, before augmentation."""
        own = [topic.question for topic in self.topics]
        return own + [q for qs in self.rephrasings.values() for q in qs] + list(self.offtopic)


@dataclass(frozen=True)
class Heldout:
    """Questions for measuring: never trained on."""

    on_topic: dict[str, tuple[str, ...]]
    off_topic: tuple[str, ...]


def slug(question: str) -> str:
    """The name of a topic in the data files: its heading in lower case, with dashes."""
    return re.sub(r"[^a-z0-9]+", "-", question.lower()).strip("-")


def normal_form(question: str) -> str:
    """Two questions with the same normal form count as the same question."""
    return re.sub(r"[^a-z0-9]+", " ", question.lower()).strip()


def parse_topics(page: str) -> tuple[Topic, ...]:
    """The topics of a FAQ page: each `### heading` with the one paragraph below it."""
    topics = []
    for block in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        question, _, rest = block.partition("\n")
        body = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
        question = question.strip()
        if not body or "\n\n" in body:
            raise ValueError(f"FAQ: {question!r} must have an answer of exactly one paragraph")
        topics.append(Topic(slug(question), question, " ".join(body.split())))
    names = [topic.slug for topic in topics]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"FAQ: asked twice: {', '.join(sorted(twice))}")
    return tuple(topics)


def read_topics(faq: Path = FAQ) -> tuple[Topic, ...]:
    """The topics of the FAQ page on disk."""
    return parse_topics(faq.read_text(encoding="utf-8"))


def read_corpus(faq: Path = FAQ) -> Corpus:
    """The topics with their rephrasings; a topic without any is an error, and the reverse too."""
    topics = read_topics(faq)
    rephrasings = {
        name: tuple(questions)
        for name, questions in tomllib.loads(REPHRASINGS.read_text(encoding="utf-8")).items()
    }
    names = {topic.slug for topic in topics}
    if names != set(rephrasings):
        missing = sorted(names - set(rephrasings))
        unknown = sorted(set(rephrasings) - names)
        raise ValueError(f"{REPHRASINGS.name}: missing {missing}, not in the FAQ {unknown}")
    offtopic = tomllib.loads(OFFTOPIC.read_text(encoding="utf-8"))
    return Corpus(topics, rephrasings, tuple(offtopic["questions"]), offtopic["answer"])


def read_heldout(path: Path = HELDOUT) -> Heldout:
    """The questions that measure the guide."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    on_topic = {name: tuple(questions) for name, questions in data["on_topic"].items()}
    return Heldout(on_topic, tuple(data["off_topic"]))


def leaked(corpus: Corpus, heldout: Heldout) -> list[str]:
    """Held-out questions that are also training questions; must be empty."""
    trained = {normal_form(question) for question in corpus.training_questions()}
    measured = [q for qs in heldout.on_topic.values() for q in qs] + list(heldout.off_topic)
    return [question for question in measured if normal_form(question) in trained]


def fingerprint(topics: tuple[Topic, ...], fallback: str) -> str:
    """Changes when a question or an answer changes, and not with the page's layout."""
    told = [[topic.question, topic.answer] for topic in topics] + [["", fallback]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
