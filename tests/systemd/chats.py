"""A question to a box through each of its ports, with the clients that people have."""

from __future__ import annotations

import re

import httpx
import openai

from tests.systemd.boxes import ROOT
from tests.systemd.conftest import API, PAGE

GUIDE = "builtin:guide"


def guide_answer() -> tuple[str, str]:
    """A question that the guide model knows, and its answer."""
    text = (ROOT / "docs/faq.md").read_text()
    match = re.search(r"^### (.+)\n(.+)$", text, re.MULTILINE)
    assert match
    return match[1], match[2]


def ask_api(question: str, key: str = "none", model: str = GUIDE) -> str:
    """The answer through the API."""
    client = openai.OpenAI(base_url=f"{API}/v1", api_key=key, max_retries=0, timeout=120)
    chat = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], temperature=0
    )
    return chat.choices[0].message.content or ""


def sign_in(email: str = "", password: str = "") -> str:
    """A session of the chat page."""
    answer = httpx.post(
        f"{PAGE}/api/v1/auths/signin", json={"email": email, "password": password}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def ask_page(question: str, email: str = "", password: str = "", model: str = GUIDE) -> str:
    """The answer through the chat page."""
    answer = httpx.post(
        f"{PAGE}/api/chat/completions",
        headers={"Authorization": f"Bearer {sign_in(email, password)}"},
        json={"model": model, "messages": [{"role": "user", "content": question}], "stream": False},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def write_chat(title: str, session: str = "") -> str:
    """Keep a chat in the page's database, of a new session if none is given; its id."""
    answer = httpx.post(
        f"{PAGE}/api/v1/chats/new",
        headers={"Authorization": f"Bearer {session or sign_in()}"},
        json={"chat": {"title": title, "messages": []}},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def chat_titles() -> list[str]:
    """The titles of all chats that the page keeps."""
    answer = httpx.get(
        f"{PAGE}/api/v1/chats/", headers={"Authorization": f"Bearer {sign_in()}"}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return [str(chat["title"]) for chat in answer.json()]
