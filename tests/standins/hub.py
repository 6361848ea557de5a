"""A stand-in for the Hugging Face hub, as a process: repositories are folders below a root.

``python -m tests.standins.hub ROOT PORT [BYTES_PER_SECOND]``. ``ROOT/owner/name`` is a
repository; one with a file ``.gated`` gives its files only to ``hf_member``. As on the real hub,
the listing of a gated repository is public, ``hf_wrong`` is refused everywhere, and large files
(LFS) are redirected to another host, which must not see a token.

Two routes are not the hub's: POST /_faults takes a list of ``Fault`` objects in JSON, GET /_served
tells what was served.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_BYTES = 100_000
_STEP_BYTES = 16 * 1024


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests whose path contains ``path``."""

    path: str
    # Answer with this status and these headers.
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    # Close the connection after so many bytes of the body.
    cut_after: int | None = None
    # Change one byte of the body.
    corrupt: bool = False
    # Send the whole file though a part was asked for.
    whole: bool = False
    times: int = 10**9


class State:
    """What all requests share."""

    def __init__(self, root: Path, port: int, bytes_per_second: float) -> None:
        self.root = root
        self.port = port
        self.bytes_per_second = bytes_per_second
        self.lock = threading.Lock()
        self.faults: list[Fault] = []
        self.bytes: Counter[str] = Counter()
        self.requests: list[str] = []
        self.tokens_at_cdn = 0

    def take_fault(self, path: str) -> Fault | None:
        """The first fault that is left for ``path``, once less."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.path in path:
                    fault.times -= 1
                    return fault
        return None


class Hub(BaseHTTPRequestHandler):
    """The few routes of the hub that a download uses."""

    protocol_version = "HTTP/1.1"
    state: State

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.state.lock:
            self.state.faults = [Fault(**fault) for fault in json.loads(body)]
        self._json([])

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if path == "/_served":
            with self.state.lock:
                self._json(
                    {
                        "bytes": dict(self.state.bytes),
                        "requests": self.state.requests,
                        "tokens_at_cdn": self.state.tokens_at_cdn,
                    }
                )
            return
        fault = self.state.take_fault(path)
        with self.state.lock:
            self.state.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}")
        if fault and fault.status:
            self._begin(fault.status, {"Content-Length": "0", **fault.headers})
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif parts[0] == "cdn":
            self.state.tokens_at_cdn += "authorization" in self.headers
            self._file("/".join(parts[1:3]), "/".join(parts[3:]), fault)
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), fault)
        else:
            self._refuse(404, "EntryNotFound")

    def log_message(self, format: str, *values: object) -> None:
        """Silent: what is asked for is not of interest."""

    def _repository(self, name: str, revision: str, *, files: bool) -> Path | None:
        folder = self.state.root / name
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if token == "hf_wrong":
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif not folder.is_dir():
            # The hub does not tell a stranger whether a repository exists.
            self._refuse(401, "RepoNotFound", "Repository not found")
        elif files and (folder / ".gated").exists() and token != "hf_member":
            self._refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return folder
        return None

    def _info(self, name: str, revision: str) -> None:
        folder = self._repository(name, revision, files=False)
        if folder is None:
            return
        siblings: list[dict[str, Any]] = []
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                path, size = str(file.relative_to(folder)), file.stat().st_size
                about: dict[str, Any] = {"rfilename": path}
                if "blobs=" in self.path and not (folder / ".bare").exists():
                    about |= {"size": size, "blobId": _git_name(file)}
                    if size >= LFS_BYTES:
                        lfs = {"size": size, "sha256": _sha256(file), "pointerSize": 134}
                        about |= {"lfs": lfs, "blobId": "f" * 40}
                siblings.append(about)
        self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings})

    def _resolve(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        folder = self._repository(name, revision, files=True)
        if folder is None:
            return
        file = folder / path
        if not file.is_file():
            self._refuse(404, "EntryNotFound")
        elif file.stat().st_size < LFS_BYTES:
            self._file(name, path, fault)
        else:
            # Another host by name; it is this process too.
            self._begin(
                302,
                {
                    "Location": f"http://localhost:{self.state.port}/cdn/{name}/{path}",
                    "X-Linked-Etag": f'"{_sha256(file)}"',
                    "X-Linked-Size": str(file.stat().st_size),
                    "X-Repo-Commit": COMMIT,
                    "Content-Length": "0",
                },
            )

    def _file(self, name: str, path: str, fault: Fault | None) -> None:
        file = self.state.root / name / path
        content = file.read_bytes()
        if fault and fault.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        headers = {
            "ETag": f'"{_git_name(file)}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range", "")
        status = 200
        if wanted.startswith("bytes=") and not (fault and fault.whole):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(content)), len(content) - 1)
            if start >= len(content):
                self._refuse(416, "")
                return
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        self._begin(status, headers | {"Content-Length": str(len(content))})
        if fault and fault.cut_after is not None:
            content = content[: fault.cut_after]
            self.close_connection = True
        self._send(content, path)

    def _json(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self._begin(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        body = json.dumps({"error": message or code}).encode()
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self._begin(status, headers | {"Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for header, value in headers.items():
            if value:
                self.send_header(header, value)
        self.end_headers()

    def _send(self, body: bytes, path: str) -> None:
        if self.command == "HEAD":
            return
        for at in range(0, len(body), _STEP_BYTES):
            step = body[at : at + _STEP_BYTES]
            try:
                self.wfile.write(step)
            except ConnectionError:
                self.close_connection = True
                return
            with self.state.lock:
                self.state.bytes[path] += len(step)
            if self.state.bytes_per_second:
                time.sleep(len(step) / self.state.bytes_per_second)


@cache
def _sha256(file: Path) -> str:
    """The etag of a large file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _git_name(file: Path) -> str:
    """The etag of a small file: its name in git."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(root: Path, port: int, bytes_per_second: float) -> None:
    """Serve until killed."""
    Hub.state = State(root, port, bytes_per_second)
    server = _Server(("127.0.0.1", port), Hub)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
