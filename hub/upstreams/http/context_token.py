"""The header `Hub-Context`: a JSON Web Token that tells an endpoint for whom it answers.

docs/guides/upstreams.md shows how an endpoint verifies it. Nothing accepts it in place of a user's
token: it has a type (RFC 8725, 3.11) and an audience of its own, and no claim `sub`; the settings
refuse a key that verifies users' tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import jwt
import msgspec

from hub.core.generation_context import GenerationContext

HEADER: Final = "Hub-Context"
ISSUER: Final = "hub"
TYPE: Final = "hub-context+jwt"
ALGORITHM: Final = "HS256"
LIFETIME_SECONDS: Final = 60
MAX_METADATA_BYTES: Final = 4096
_JWS: Final = jwt.PyJWS()


class ContextSigner:
    """Signs the context of each request to one endpoint.

    key: the shared secret. upstream: the name of the endpoint in the settings. wall: returns the
    time in Unix seconds.
    """

    def __init__(self, key: str, upstream: str, wall: Callable[[], float] = time.time) -> None:
        self._key = key
        self._aud = f"upstream:{upstream}"
        self._wall = wall

    def build_headers(self, context: GenerationContext) -> Mapping[str, str]:
        """Return the header for one request.

        The claim `user` is absent if no user asked, `chat` outside of a chat, and `metadata` if its
        JSON is larger than MAX_METADATA_BYTES, because servers refuse large headers.
        """
        now = int(self._wall())
        claims = {
            "iss": ISSUER,
            "aud": self._aud,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "generation": context.generation,
            "attempt": context.attempt,
        }
        if context.user:
            claims["user"] = context.user
        if context.chat is not None:
            claims["chat"] = context.chat
        if len(msgspec.json.encode(context.metadata)) <= MAX_METADATA_BYTES:
            claims["metadata"] = context.metadata
        # PyJWT would escape every character that is not ASCII, and so triple the size.
        payload = msgspec.json.encode(claims)
        return {HEADER: _JWS.encode(payload, self._key, ALGORITHM, headers={"typ": TYPE})}
