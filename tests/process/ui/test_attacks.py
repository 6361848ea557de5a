"""What a stranger tries on the open chat page: hiding a button would not pass here."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from sandbox.ui import provision
from tests.process.ui.data_folder import MODEL
from tests.standins.chat_page import ApiStandIn, ChatPage

INSIDE = "http://127.0.0.1:{port}/secret"
PLUGIN = {"id": "evil", "name": "evil", "content": "import os", "meta": {"description": ""}}
RULE = {"prompt": "x", "model_id": MODEL, "rrule": "FREQ=DAILY"}
ATTACKS: list[tuple[str, str, dict[str, Any]]] = [
    # Code in the server.
    ("POST", "/api/v1/functions/create", PLUGIN),
    ("POST", "/api/v1/functions/load/url", {"url": INSIDE}),
    ("POST", "/api/v1/tools/create", {**PLUGIN, "access_grants": []}),
    ("POST", "/api/v1/tools/load/url", {"url": INSIDE}),
    ("POST", "/api/v1/utils/code/execute", {"code": "print(1)"}),
    ("POST", "/api/v1/automations/create", {"name": "x", "data": RULE}),
    ("POST", "/api/v1/skills/create", {"id": "x", "name": "x", "content": "x"}),
    # Requests by the server: to itself, and to the cloud's metadata in several spellings.
    *[
        ("POST", f"/api/v1/retrieval/process/{kind}", {"url": url})
        for kind in ("web", "url", "youtube")
        for url in (
            INSIDE,
            "http://localhost:{port}/secret",
            "http://[::ffff:127.0.0.1]:{port}/secret",
            "http://2130706433:{port}/secret",
            "http://169.254.169.254/v1/instance",
            "http://[fd00:a9fe:a9fe::1]/v1/instance",
            "http://example.com/",
        )
    ],
    ("POST", "/api/v1/retrieval/process/web/search", {"queries": ["x"]}),
    ("POST", "/openai/verify", {"url": INSIDE, "key": ""}),
    ("POST", "/ollama/verify", {"url": INSIDE, "key": ""}),
    ("POST", "/api/v1/configs/tool_servers/verify", {"url": INSIDE, "path": ""}),
    ("POST", "/api/v1/images/generations", {"prompt": "x"}),
    # The server's own configuration and data.
    ("GET", "/openai/config", {}),
    (
        "POST",
        "/openai/config/update",
        {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": [INSIDE],
            "OPENAI_API_KEYS": [""],
            "OPENAI_API_CONFIGS": {},
        },
    ),
    ("GET", "/api/v1/configs/export", {}),
    ("POST", "/api/v1/configs/import", {"config": {"ui": {"enable_signup": True}}}),
    ("GET", "/api/v1/utils/db/download", {}),
    ("GET", "/api/v1/retrieval/config", {}),
    ("GET", "/api/v1/users/", {}),
    ("GET", "/api/v1/auths/admin/details", {}),
    ("GET", "/cache/%2e%2e/webui.db", {}),
    # Past the page, straight to the API's other routes.
    ("GET", "/openai/metrics", {}),
    ("POST", "/openai/anything", {"a": 1}),
    # Another account, or a better one; or nobody gets in any more.
    ("POST", "/api/v1/auths/signup", {"name": "a", "email": "a@b.example", "password": "x"}),
    (
        "POST",
        "/api/v1/auths/add",
        {"name": "a", "email": "a@b.example", "password": "x", "role": "admin"},
    ),
    ("POST", "/api/v1/auths/api_key", {}),
    ("POST", "/api/v1/auths/ldap", {"user": "a", "password": "b"}),
    ("POST", "/api/v1/auths/update/password", {"password": "admin", "new_password": "Mine-now-1"}),
]


@pytest.mark.parametrize(
    ("method", "path", "body"), ATTACKS, ids=[f"{a[1]} {a[2].get('url', '')}" for a in ATTACKS]
)
def test_a_visitor_cannot(
    page: ChatPage,
    visitor: httpx.Client,
    backend: ApiStandIn,
    method: str,
    path: str,
    body: dict[str, Any],
) -> None:
    filled = json.loads(json.dumps(body).replace("{port}", str(backend.port)))
    # As it stands, so that the client does not decode it.
    url = httpx.URL(page.url).copy_with(raw_path=path.encode())
    answer = visitor.request(method, url, json=filled or None)
    assert 400 <= answer.status_code < 500, answer.text
    assert "for this machine only" not in answer.text
    assert not [request for request in backend.seen() if request["path"].startswith("/secret")]


def test_a_visitor_cannot_upload_a_pipeline(visitor: httpx.Client) -> None:
    file = {"file": ("evil.py", b"import os", "text/x-python")}
    answer = visitor.post("/api/v1/pipelines/upload", files=file, data={"urlIdx": "0"})
    assert answer.status_code == 401


def test_a_visitor_cannot_have_speech_recognised_on_the_server(visitor: httpx.Client) -> None:
    file = {"file": ("x.wav", b"RIFF", "audio/wav")}
    answer = visitor.post("/api/v1/audio/transcriptions", files=file)
    assert answer.status_code == 400


def test_a_visitor_cannot_fill_the_disk_with_one_file(visitor: httpx.Client) -> None:
    file = {"file": ("big.txt", b"x" * (51 * 1024 * 1024), "text/plain")}
    answer = visitor.post("/api/v1/files/", files=file)
    assert 400 <= answer.status_code < 500, answer.text


def test_an_uploaded_file_stays_in_its_folder(page: ChatPage, visitor: httpx.Client) -> None:
    file = {"file": ("../../../../escaped.txt", b"x", "text/plain")}
    visitor.post("/api/v1/files/", files=file)
    (kept,) = page.data.parent.rglob("*escaped.txt")
    assert kept.parent == page.data / "uploads"


def test_a_chat_cannot_make_the_server_call_a_tool_server(
    visitor: httpx.Client, backend: ApiStandIn
) -> None:
    server = {"url": f"{backend.url}/secret", "specs": [], "openapi": {}, "info": {}}
    visitor.post(
        "/api/chat/completions",
        json={
            "model": MODEL,
            "messages": [{"role": "user", "content": "x"}],
            "tool_servers": [server],
            "tool_ids": ["server:0"],
            "features": {"web_search": True, "code_interpreter": True, "image_generation": True},
        },
    )
    assert not [request for request in backend.seen() if request["path"].startswith("/secret")]


def test_a_visitor_is_no_administrator(page: ChatPage) -> None:
    form = {"email": "admin@ai-sandbox.local", "password": "x"}
    answer = httpx.post(f"{page.url}/api/v1/auths/signin", json=form).json()
    assert answer["role"] == "user"
    assert answer["email"] == provision.VISITOR


FOREIGN = {"Origin": "http://evil.example"}


@pytest.mark.parametrize("path", ["/api/v1/auths/signin", "/api/chat/completions"])
def test_another_site_gets_nothing_through_a_visitors_browser(page: ChatPage, path: str) -> None:
    form = {"email": "", "password": ""}
    assert httpx.post(page.url + path, json=form, headers=FOREIGN).status_code == 403
    asked = httpx.options(
        page.url + path, headers={**FOREIGN, "Access-Control-Request-Method": "POST"}
    )
    assert asked.status_code == 403
    assert "access-control-allow-origin" not in asked.headers


def test_another_site_gets_no_websocket(page: ChatPage) -> None:
    address = ("127.0.0.1", int(page.url.rsplit(":", 1)[1]))
    request = (
        "GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
        f"Host: {address[0]}:{address[1]}\r\nOrigin: http://evil.example\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(request.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 403 ")


def test_its_own_pages_are_answered(page: ChatPage) -> None:
    form = {"email": "", "password": ""}
    own = {"Origin": page.url}
    answer = httpx.post(f"{page.url}/api/v1/auths/signin", json=form, headers=own)
    assert answer.status_code == 200
