"""A stand-in for Python's package index on whose way one package breaks off, as a process.

``python -m tests.standins.package_index PROJECT TIMES`` prints its address and serves. Pages and
files are those of the real index. Of each file of PROJECT only the first half comes, as when a
connection is lost midway; after TIMES such answers the whole file comes.
"""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path

UV = Path(__file__).resolve().parents[2] / ".tools/uv"
# The one that uv asks by itself.
INDEX = re.findall(
    r"\(by default: <(http\S+)>\)",
    subprocess.run([UV, "help", "pip", "install"], capture_output=True, text=True).stdout,
)[0]


class Handler(http.server.BaseHTTPRequestHandler):
    """One page for each project, and the files of one project."""

    project: str
    times: int
    lock = threading.Lock()

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        kind, name = parts.path.strip("/").split("/")[:2]
        if kind == "files":
            self._send_file(urllib.parse.parse_qs(parts.query)["at"][0])
        elif name == self.project:
            self._send(page(name).encode(), "text/html")
        else:
            self.send_response(302)
            self.send_header("Location", f"{INDEX}/{name}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _send_file(self, url: str) -> None:
        content = fetch(url)
        with self.lock:
            is_cut = Handler.times > 0
            Handler.times -= is_cut
        self._send(content, "application/octet-stream", len(content) // 2 if is_cut else None)

    def _send(self, body: bytes, kind: str, end: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:end])
        self.close_connection = True


def page(name: str) -> str:
    """The index's page of ``name`` with links that lead here; all a link says of itself is gone."""
    base = f"{INDEX}/{name}/"
    links = []
    for href in re.findall(r'href="([^"]+)"', fetch(base, "text/html").decode()):
        url, _, digest = urllib.parse.urljoin(base, href).partition("#")
        file = url.rpartition("/")[2]
        at = urllib.parse.quote(url, safe="")
        links.append(f'<a href="/files/{file}?at={at}#{digest}">{file}</a>')
    return "<!DOCTYPE html>" + "\n".join(links)


def fetch(url: str, accept: str = "*/*") -> bytes:
    """What the real index has at ``url``."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as response:
        content: bytes = response.read()
    return content


def main() -> None:
    Handler.project, Handler.times = sys.argv[1], int(sys.argv[2])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/simple", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
