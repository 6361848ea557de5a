"""Linode's metadata service: this machine's public address and plan, asked from inside it."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.request
from typing import NamedTuple

from sandbox.host.addresses import own_address

SERVICE = "http://169.254.169.254"
# Answers within milliseconds, and elsewhere never.
TIMEOUT_S = 2.0
TOKEN_LIFE_S = "60"


class Instance(NamedTuple):
    """What the service says; ``plan`` is such as "g2-gpu-rtx4000a1-s", ``address`` is IPv4."""

    plan: str | None
    address: str | None


def instance(service: str = SERVICE) -> Instance:
    """This Linode; both fields None on a machine that is none."""
    # Neither a proxy's business nor to be had through one.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(service + path, method=method, headers=headers)
        with opener.open(request, timeout=TIMEOUT_S) as response:
            text: bytes = response.read()
            return text.decode()

    plan = address = None
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        token = ask("PUT", "/v1/token", {"Metadata-Token-Expiry-Seconds": TOKEN_LIFE_S})
        # Plain, or a JSON list with one text.
        headers = {"Metadata-Token": token.strip('[]" \n'), "Accept": "application/json"}
        with contextlib.suppress(TypeError, LookupError, ValueError):
            plan = str(json.loads(ask("GET", "/v1/instance", headers))["type"])
        with contextlib.suppress(TypeError, LookupError, ValueError):
            # Such as "192.0.2.7/32".
            network = json.loads(ask("GET", "/v1/network", headers))
            address = str(network["ipv4"]["public"][0]).partition("/")[0]
    return Instance(plan, address)


def public_address(service: str = SERVICE) -> str | None:
    """The address that people outside use: the service's, else this machine's own; None without."""
    address = instance(service).address
    return address or next(iter(own_address()), None)
