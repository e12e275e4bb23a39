"""API keys of backends and operators: each with a name and scopes, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.api.authentication import bearer_token
from hub.api.client_address import check_is_called_local
from hub.api.request_context import RequestContext
from hub.errors import Forbidden, Unauthorized

ANONYMOUS: Final = "nobody in particular"


class ApiKey(msgspec.Struct, frozen=True):
    """sha256: of the key, in hexadecimal. A key is long and random, so a fast hash is enough."""

    name: str
    sha256: str
    scopes: frozenset[str]


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeys:
    """The keys that are good. Without any key every backend is let in, which only the open,
    loopback mode allows.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = keys

    def check(self, request: RequestContext, scope: str) -> str:
        """The name of the request's key. Raises Unauthorized, or Forbidden without the scope."""
        if not self._keys:
            check_is_called_local(request)
            return ANONYMOUS
        given = hash_key(bearer_token(request) or "").encode()
        found: ApiKey | None = None
        for key in self._keys:  # all of them, whichever fits: the time tells nothing
            if hmac.compare_digest(given, key.sha256.encode()):
                found = key
        if found is None:
            raise Unauthorized("an API key is needed: Authorization: Bearer …")
        if scope not in found.scopes:
            raise Forbidden(f"this API key has not the scope {scope!r}")
        return found.name
