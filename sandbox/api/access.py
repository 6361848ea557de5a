"""Who may call: the keys of API_KEY, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.types import Scope


class KeyCheck:
    """Accepts every request when there are no keys, else those that carry one of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        # Digests have one length, so that a comparison tells nothing about a key's.
        self._digests = [_digest(key.encode()) for key in keys]

    def allows(self, scope: Scope) -> bool:
        """True when the request may pass. Reads ``Authorization: Bearer`` and ``x-api-key``."""
        if not self._digests:
            return True
        given = _digest(_key_of(scope))
        # No short cut at the first match: the time must not tell which key it was.
        return sum(hmac.compare_digest(given, digest) for digest in self._digests) > 0


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _key_of(scope: Scope) -> bytes:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer":
        return value.strip()
    return headers.get(b"x-api-key", b"").strip()
