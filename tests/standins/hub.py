"""A stand-in for the Hugging Face hub, as a process: repositories are folders below a root.

``python -m tests.standins.hub ROOT PORT [BYTES_PER_SECOND]``. ``ROOT/owner/name`` is a
repository; one with a file ``.gated`` answers 401 as a gated one does without a token.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The few routes of the hub that a download uses."""

    protocol_version = "HTTP/1.1"
    root: Path
    bytes_per_second: float

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 5 and parts[4] == "tree":
            self._tree("/".join(parts[2:4]))
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._info("/".join(parts[2:4]))
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self._refuse(404, "EntryNotFound")

    def log_message(self, format: str, *values: object) -> None:
        """Silent: what is asked for is not of interest."""

    def _repository(self, name: str) -> Path | None:
        folder = self.root / name
        if self.headers.get("authorization", "").endswith("hf_wrong"):
            self._refuse(401, "")
            return None
        if not folder.is_dir():
            # The hub does not tell a stranger whether a repository exists.
            self._refuse(401, "RepoNotFound")
            return None
        if (folder / ".gated").exists() and "authorization" not in self.headers:
            self._refuse(401, "GatedRepo")
            return None
        return folder

    def _info(self, name: str) -> None:
        folder = self._repository(name)
        if folder is None:
            return
        files = [{"rfilename": path, "size": size} for path, size in _files(folder)]
        self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": files})

    def _tree(self, name: str) -> None:
        folder = self._repository(name)
        if folder is not None:
            self._json(
                [
                    {"type": "file", "path": path, "size": size, "oid": "0" * 40}
                    for path, size in _files(folder)
                ]
            )

    def _file(self, name: str, path: str) -> None:
        folder = self._repository(name)
        if folder is None:
            return
        if not (folder / path).is_file():
            self._refuse(404, "EntryNotFound")
            return
        content = (folder / path).read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range", "")
        status = 200
        if wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        self._begin(status, headers | {"Content-Length": str(len(content))})
        self._send(content)

    def _json(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self._begin(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self._send(body)

    def _refuse(self, status: int, code: str) -> None:
        body = json.dumps({"error": code}).encode()
        self._begin(status, {"X-Error-Code": code, "Content-Length": str(len(body))})
        self._send(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()

    def _send(self, body: bytes) -> None:
        if self.command == "HEAD":
            return
        step = 64 * 1024
        for at in range(0, len(body), step):
            self.wfile.write(body[at : at + step])
            if self.bytes_per_second:
                time.sleep(step / self.bytes_per_second)


def _files(folder: Path) -> list[tuple[str, int]]:
    """Path and size of every file of a repository."""
    return [
        (str(file.relative_to(folder)), file.stat().st_size)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]


def main(root: Path, port: int, bytes_per_second: float) -> None:
    """Serve until killed."""
    Hub.root = root
    Hub.bytes_per_second = bytes_per_second
    server = ThreadingHTTPServer(("127.0.0.1", port), Hub)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
