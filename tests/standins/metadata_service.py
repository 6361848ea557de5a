"""Linode's metadata service: a token for what is asked, as JSON or as text.

``python metadata_service.py [--instance JSON] [--network JSON]`` prints its address and serves.
"""

from __future__ import annotations

import argparse
import http.server
import json

TOKEN = "0123abcd"


class Handler(http.server.BaseHTTPRequestHandler):
    """The three routes that are used."""

    answers: dict[str, str]

    def do_PUT(self) -> None:
        if self.path != "/v1/token" or not self.headers["Metadata-Token-Expiry-Seconds"]:
            self.send_error(400)
            return
        wants_json = self.headers["Accept"] == "application/json"
        self._send(json.dumps([TOKEN]) if wants_json else TOKEN)

    def do_GET(self) -> None:
        if self.headers["Metadata-Token"] != TOKEN:
            self.send_error(401)
        elif not self.answers.get(self.path):
            self.send_error(404)
        else:
            self._send(self.answers[self.path])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _send(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instance", default="")
    parser.add_argument("--network", default="")
    given = parser.parse_args()
    Handler.answers = {"/v1/instance": given.instance, "/v1/network": given.network}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
