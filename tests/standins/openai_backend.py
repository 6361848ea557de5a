"""A small OpenAI-compatible server, as a process of its own, for tests of what talks to one.

``python -m tests.standins.openai_backend --model NAME`` prints its port as one line and serves
until it is ended. It answers ``--question`` with ``--answer`` and repeats everything else. With
``--key`` it wants that key. ``GET /seen`` lists the requests so far; ``PUT /loading`` with a text
makes chats fail with 503 and that text, as our API does before the model is ready.
"""

from __future__ import annotations

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Backend(ThreadingHTTPServer):
    """What the handlers share."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options = options
        self.seen: list[dict[str, Any]] = []
        self.loading = ""
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Backend

    def do_GET(self) -> None:
        if self.path == "/seen":
            return self._send(200, self.server.seen)
        self._note({})
        if self._is_refused():
            return None
        if self.path == "/v1/models":
            model = {"id": self.server.options.model, "object": "model", "owned_by": "standin"}
            return self._send(200, {"object": "list", "data": [model]})
        return self._send(200, {"secret": "for this machine only"})

    def do_PUT(self) -> None:
        self.server.loading = self._body().decode()
        self._send(200, {})

    def do_POST(self) -> None:
        body = self._body()
        request = json.loads(body) if body.startswith(b"{") else {}
        self._note(request)
        if self._is_refused():
            return None
        if self.path != "/v1/chat/completions":
            return self._error(404, "There is no such route.", "NotFoundError")
        if self.server.loading:
            return self._error(503, self.server.loading, "ServiceUnavailableError")
        question = _text(request["messages"][-1]["content"])
        options = self.server.options
        answer = options.answer if question == options.question else f"You said: {question}"
        if request.get("stream"):
            return self._stream(answer)
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self._send(200, self._chunk("chat.completion", choice))

    def log_message(self, *_: object) -> None:
        """Nothing: the requests are at /seen."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _note(self, body: dict[str, Any]) -> None:
        with self.server.lock:
            authorization = self.headers.get("Authorization") or ""
            self.server.seen.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "authorization": authorization,
                    "body": body,
                }
            )

    def _is_refused(self) -> bool:
        key = self.server.options.key
        if not key or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        self._error(401, "The API key is wrong.", "AuthenticationError")
        return True

    def _stream(self, answer: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        words = answer.split(" ")
        pieces = [word + " " for word in words[:-1]] + [words[-1]]
        deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant"}, None)]
        deltas += [({"content": piece}, None) for piece in pieces]
        deltas += [({}, "stop")]
        for delta, reason in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            text = json.dumps(self._chunk("chat.completion.chunk", choice))
            self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _chunk(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        model = self.server.options.model
        return {"id": "1", "object": kind, "created": 1, "model": model, "choices": [choice]}

    def _error(self, status: int, message: str, kind: str) -> None:
        error = {"message": message, "type": kind, "param": None, "code": status}
        self._send(status, {"error": error})

    def _send(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--question", default="")
    parser.add_argument("--answer", default="")
    backend = Backend(parser.parse_args())
    print(backend.server_address[1], flush=True)
    backend.serve_forever()


if __name__ == "__main__":
    main()
