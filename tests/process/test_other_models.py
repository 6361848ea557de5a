"""What other kinds of models can do, with the same program: images, embeddings, scores."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image

from tests.process.api_service import GUIDE, ApiService, serving
from tests.process.tiny_models import make_vision_model


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """The guide's weights as a model for embeddings, by vLLM's own flags."""
    folder = tmp_path_factory.mktemp("embedding")
    with serving(folder, VLLM_EXTRA_ARGS="--runner pooling --convert embed") as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        yield service


def test_embeddings_are_served_by_a_model_that_embeds(embedding: ApiService) -> None:
    client = openai.OpenAI(base_url=f"{embedding.url}/v1", api_key="none")
    answer = client.embeddings.create(model=GUIDE, input=["one text", "another"])
    assert [len(item.embedding) for item in answer.data] == [256, 256]


def test_a_text_scores_highest_against_itself(embedding: ApiService) -> None:
    texts = ["Where are the logs?", "How do I change the model?"]
    for path, body in (
        ("/score", {"text_1": texts[0], "text_2": texts}),
        ("/rerank", {"query": texts[0], "documents": texts}),
    ):
        answer = httpx.post(embedding.url + path, json={"model": GUIDE, **body}, timeout=60)
        assert answer.status_code == 200, answer.text
        rows = answer.json().get("data") or answer.json()["results"]
        scores = {row["index"]: row.get("score", row.get("relevance_score")) for row in rows}
        assert scores[0] > scores[1]


def test_a_model_that_embeds_does_not_chat(embedding: ApiService) -> None:
    refused = embedding.ask("Hello")
    assert refused.status_code == 404
    assert "another kind of model" in refused.json()["error"]["message"]


def test_a_vision_model_takes_an_image(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make_vision_model(folder)
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(picture, "PNG")
    address = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    with serving(tmp_path, MODEL_ID=str(folder), SERVED_MODEL_NAME="eyes") as service:
        assert service.wait_for("ready")["state"] == "ready", service.tell()
        client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none")
        answer = client.chat.completions.create(
            model="eyes",
            max_tokens=4,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": address}},
                        {"type": "text", "text": "What is it?"},
                    ],
                }
            ],
        )
        assert answer.usage is not None
        # 13 tokens for the text alone, one a letter: the rest are the image's.
        assert answer.usage.prompt_tokens > len("What is it?") + 4
