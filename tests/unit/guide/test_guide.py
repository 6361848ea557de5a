"""The guide in the package: what it answers, what it refuses, and that it fits the FAQ page."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sandbox.models.guide import guide_folder
from sandbox.models.guide.evaluate import HELDOUT_BAR, OFF_TOPIC_BAR, Guide
from sandbox.models.guide.lessons import Lessons, Plan
from sandbox.models.guide.topics import (
    Corpus,
    Heldout,
    fingerprint,
    leaked,
    normal_form,
    parse_topics,
    read_corpus,
    read_heldout,
)

SUGGESTIONS = guide_folder().parent / "suggestions.json"


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus()


@pytest.fixture(scope="module")
def heldout() -> Heldout:
    return read_heldout()


@pytest.fixture(scope="module")
def guide() -> Guide:
    return Guide(guide_folder())


# What it says


def test_every_question_of_the_faq_page_is_answered_to_the_letter(
    guide: Guide, corpus: Corpus
) -> None:
    told = guide.ask([topic.question for topic in corpus.topics])
    assert told == [topic.answer for topic in corpus.topics]


def test_questions_in_words_it_never_saw_get_the_right_answer(
    guide: Guide, corpus: Corpus, heldout: Heldout
) -> None:
    answer_of = {topic.slug: topic.answer for topic in corpus.topics}
    asked = [(q, answer_of[name]) for name, qs in heldout.on_topic.items() for q in qs]
    told = guide.ask([question for question, _ in asked])
    right = sum(answer == wanted for answer, (_, wanted) in zip(told, asked, strict=True))
    assert right / len(asked) >= HELDOUT_BAR


def test_off_topic_questions_are_answered_with_i_do_not_know(
    guide: Guide, corpus: Corpus, heldout: Heldout
) -> None:
    told = guide.ask(list(heldout.off_topic))
    assert told.count(corpus.fallback) / len(told) >= OFF_TOPIC_BAR


def test_every_suggested_question_is_answered_to_the_letter(guide: Guide, corpus: Corpus) -> None:
    answer_of = {topic.question: topic.answer for topic in corpus.topics}
    suggested = json.loads(SUGGESTIONS.read_text(encoding="utf-8"))
    assert 4 <= len(suggested) <= 6
    for entry in suggested:
        assert " ".join(entry["title"]) == entry["content"]
    asked = [entry["content"] for entry in suggested]
    assert guide.ask(asked) == [answer_of[question] for question in asked]


@pytest.mark.parametrize("question", ["日本の首都はどこですか", "🐟🐟🐟", "", " ", "word " * 400])
def test_any_text_at_all_gets_a_sentence_in_reply(
    guide: Guide, corpus: Corpus, question: str
) -> None:
    [told] = guide.ask([question])
    assert told.strip()


# Its chat template

QUESTION = "How do I change the model?"


def test_system_prompts_and_history_do_not_confuse_it(guide: Guide) -> None:
    alone = guide.render([{"role": "user", "content": QUESTION}])
    after_others = guide.render(
        [
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "Where are the logs?"},
            {"role": "assistant", "content": "In the terminal."},
            {"role": "user", "content": QUESTION},
        ]
    )
    assert after_others == alone


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": QUESTION}],
        [{"type": "text", "text": "How do I"}, {"type": "text", "text": "change the model?"}],
        [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": QUESTION}],
        "  how do I CHANGE the model?\n",
    ],
    ids=["one part", "two parts", "with an image", "other case"],
)
def test_content_may_come_in_parts_and_in_any_case(guide: Guide, content: Any) -> None:
    alone = guide.render([{"role": "user", "content": QUESTION}])
    assert guide.render([{"role": "user", "content": content}]) == alone


def test_tools_and_missing_user_messages_are_no_mistake(guide: Guide) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    asked = [{"role": "user", "content": QUESTION}]
    assert guide.render(asked, tools=[tool]) == guide.render(asked)
    assert guide.render([{"role": "system", "content": "Be brief."}])


def test_any_text_survives_the_tokenizer(guide: Guide) -> None:
    text = "naïve 🐟 日本 \t { }\n"
    ids = guide.tokenizer(text)["input_ids"]
    assert guide.tokenizer.decode(ids) == text


# What ships


def test_a_client_without_temperature_gets_the_most_likely_answer() -> None:
    defaults = json.loads((guide_folder() / "generation_config.json").read_text(encoding="utf-8"))
    assert defaults["temperature"] == 0.0
    assert defaults["do_sample"] is False


def test_the_folder_stays_under_eight_megabytes() -> None:
    assert sum(file.stat().st_size for file in guide_folder().iterdir()) < 8_000_000


def test_the_weights_are_trained_on_the_faq_page_as_it_is_now(corpus: Corpus) -> None:
    made_from = json.loads((guide_folder() / "topics.json").read_text(encoding="utf-8"))
    now = fingerprint(corpus.topics, corpus.fallback)
    assert made_from["fingerprint"] == now, "docs/faq.md changed since training: run `make guide`"


def test_knowing_where_the_guide_is_loads_nothing_heavy() -> None:
    code = (
        "import sys, sandbox.models.guide, sandbox.models.guide.topics;"
        "sys.exit(' '.join({'torch', 'transformers', 'tokenizers'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What it is made from


def test_the_faq_page_has_many_short_plain_answers(corpus: Corpus) -> None:
    assert len(corpus.topics) >= 80
    for topic in corpus.topics:
        assert topic.question.endswith("?"), topic.question
        assert len(topic.answer.split()) <= 60, topic.question
        assert topic.answer.isascii(), topic.question
        assert "](" not in topic.answer, topic.question


def test_no_two_topics_have_the_same_answer(corpus: Corpus) -> None:
    answers = [topic.answer for topic in corpus.topics]
    assert len(set(answers)) == len(answers)
    assert corpus.fallback not in answers


def test_every_topic_is_asked_in_at_least_twelve_other_ways(corpus: Corpus) -> None:
    few = {name: len(qs) for name, qs in corpus.rephrasings.items() if len(set(qs)) < 12}
    assert not few


def test_no_question_belongs_to_two_topics(corpus: Corpus) -> None:
    owner: dict[str, str] = {normal_form(t.question): t.slug for t in corpus.topics}
    for name, questions in corpus.rephrasings.items():
        for question in questions:
            if form := normal_form(question):
                assert owner.setdefault(form, name) == name, question
    off = {normal_form(question) for question in corpus.offtopic}
    assert not off & set(owner)


def test_no_held_out_question_is_trained_on(corpus: Corpus, heldout: Heldout) -> None:
    assert leaked(corpus, heldout) == []


def test_the_held_out_set_is_large_and_covers_the_topics(corpus: Corpus, heldout: Heldout) -> None:
    assert set(heldout.on_topic) == {topic.slug for topic in corpus.topics}
    assert sum(len(questions) for questions in heldout.on_topic.values()) >= 160
    assert len(heldout.off_topic) >= 60


def test_the_same_seed_draws_the_same_lessons(guide: Guide, corpus: Corpus) -> None:
    def drawn(seed: int) -> list[list[list[int]]]:
        lessons = Lessons(corpus, guide.tokenizer, Plan(seed=seed))
        return [ids.tolist() for ids, _ in lessons.batches(4)]

    first = drawn(7)
    assert drawn(7) == first
    assert drawn(8) != first


def test_an_answer_of_two_paragraphs_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one paragraph"):
        parse_topics("# T\n\n### Why?\nBecause.\n\nAnd so.\n")


def test_a_question_asked_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="asked twice"):
        parse_topics("# T\n\n### Why?\nBecause.\n\n### why\nSo.\n")
