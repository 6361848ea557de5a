"""A first visit to the open chat page, over HTTP as the page itself makes it."""

from __future__ import annotations

import json

import httpx

from sandbox.ui import choices
from tests.process.ui.conftest import ANSWER, QUESTION
from tests.process.ui.data_folder import MODEL
from tests.standins.chat_page import ApiStandIn


def chat(client: httpx.Client, question: str) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}]}
    return client.post("/api/chat/completions", json=body)


def test_the_served_model_is_there_and_chosen(visitor: httpx.Client) -> None:
    models = visitor.get("/api/models").json()["data"]
    assert [model["id"] for model in models] == [MODEL]
    assert visitor.get("/api/config").json()["default_models"] == MODEL


def test_a_question_is_answered_by_our_api(visitor: httpx.Client) -> None:
    answer = chat(visitor, QUESTION).json()
    assert answer["choices"][0]["message"]["content"] == ANSWER


def test_the_message_of_a_loading_model_arrives_as_it_is(
    visitor: httpx.Client, backend: ApiStandIn
) -> None:
    message = "some/model is loading: about 2 minutes left."
    backend.be_loading(message)
    try:
        answer = chat(visitor, QUESTION)
    finally:
        backend.be_loading("")
    assert message in answer.text


def test_the_page_says_that_it_is_open(visitor: httpx.Client) -> None:
    (banner,) = visitor.get("/api/v1/configs/banners").json()
    assert "no login" in banner["content"]


def test_the_suggested_questions_are_ours(visitor: httpx.Client) -> None:
    listed = visitor.get("/api/config").json()["default_prompt_suggestions"]
    assert listed == choices.SUGGESTIONS


def test_release_notes_do_not_pop_up(visitor: httpx.Client) -> None:
    assert visitor.get("/api/config").json()["ui"]["default_interface_settings"] == {
        "showChangelog": False
    }


def test_nothing_is_sent_home(visitor: httpx.Client) -> None:
    features = visitor.get("/api/config").json()["features"]
    assert not features["enable_version_update_check"]
    assert not features["enable_community_sharing"]


def test_a_files_text_reaches_the_model_without_an_embedding_model(
    visitor: httpx.Client, backend: ApiStandIn
) -> None:
    file = {"file": ("note.txt", b"The word is xyzzy.", "text/plain")}
    made = visitor.post("/api/v1/files/?process_in_background=false", files=file).json()
    visitor.post(
        "/api/chat/completions",
        json={
            "model": MODEL,
            "messages": [{"role": "user", "content": "Which word?"}],
            "files": [{"type": "file", "id": made["id"]}],
        },
    ).raise_for_status()
    assert "The word is xyzzy." in json.dumps(backend.seen()[-1]["body"])


def test_the_name_stays_open_webui(visitor: httpx.Client) -> None:
    assert visitor.get("/api/config").json()["name"] == "Open WebUI"
