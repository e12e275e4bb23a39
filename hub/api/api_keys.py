"""API keys of backends and operators. A key has a name and scopes; the hub keeps only its hash."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.api.authentication import bearer_token
from hub.api.client_address import check_is_called_local
from hub.api.request_context import RequestContext
from hub.error_codes import API_KEY_INVALID, API_KEY_REQUIRED, INSUFFICIENT_SCOPE
from hub.errors import Forbidden, Unauthorized

ANONYMOUS: Final = "anonymous"
"""The name that stands for an API key where none is configured."""


class ApiKey(msgspec.Struct, frozen=True):
    """sha256: the hash of the key, in hexadecimal. Keys are random, so a fast hash is safe."""

    name: str
    sha256: str
    scopes: frozenset[str]


def hash_key(key: str) -> str:
    """Return the hash of a key, as ApiKey keeps it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class ApiKeys:
    """The valid API keys.

    Without any key, every backend on this machine is accepted. The settings allow that only with
    auth.disabled, on loopback.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = keys

    def check(self, request: RequestContext, scope: str) -> str:
        """Return the name of the request's API key.

        Raise Unauthorized without a valid key, Forbidden if the key does not have the scope.
        """
        if not self._keys:
            check_is_called_local(request)
            return ANONYMOUS
        given = bearer_token(request)
        if not given:
            raise Unauthorized(
                "an API key is required: send Authorization: Bearer <API key>",
                code=API_KEY_REQUIRED,
            )
        digest = hash_key(given).encode()
        match: ApiKey | None = None
        for key in self._keys:  # compares with all keys, so that the time reveals nothing
            if hmac.compare_digest(digest, key.sha256.encode()):
                match = key
        if match is None:
            raise Unauthorized(_wrong_key(given), code=API_KEY_INVALID)
        if scope not in match.scopes:
            raise Forbidden(
                f"this API key does not have the scope {scope!r}", code=INSUFFICIENT_SCOPE
            )
        return match.name


def _wrong_key(given: str) -> str:
    """Return the sentence for a key that no entry has. The key itself is not part of it."""
    if given.count(".") == 2 and given.startswith("eyJ"):
        return "this is a user's token: this route requires an API key"
    return "the API key is wrong: no key in auth.api_keys of this node is equal to it"
