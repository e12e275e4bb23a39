"""Who a request is from: a user by a JSON Web Token, or a backend by an API key.

A token is a JWT (RFC 7519) signed with HS256: `sub` is the user's id, `exp` is required, `topics`
lists the topics the user may follow (`*` at the end is a wildcard). In development, on loopback
only, no token is needed and the request says itself who it is from.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import jwt
import msgspec
from aiohttp import web

from hub.core.channel import check_topic, check_user_id
from hub.errors import BadRequest, Forbidden, Unauthorized

COOKIE: Final = "hub_token"


class Identity(msgspec.Struct, frozen=True):
    """A user, and the topics that it may follow."""

    user: str
    topics: tuple[str, ...] = ()

    def check_may_follow(self, topic: str) -> None:
        """Raises Forbidden for a topic that the token does not name."""
        for allowed in self.topics:
            if allowed == topic or (allowed.endswith("*") and topic.startswith(allowed[:-1])):
                return
        raise Forbidden(f"the token does not allow the topic {topic!r}")


class Door(Protocol):
    """Lets users in."""

    def identify(self, request: web.Request) -> Identity:
        """Who this is. Raises Unauthorized, or Forbidden for another user's path."""
        ...


class OpenDoor:
    """For development: everybody is who the path, or `?user=`, says."""

    def identify(self, request: web.Request) -> Identity:
        named = request.match_info.get("user_id") or request.query.get("user")
        if not named:
            raise BadRequest("say who you are: ?user=alice", path="user")
        return Identity(check_user_id(named, path="user"), ("*",))


class TokenDoor:
    """Checks the token in `Authorization: Bearer`, the cookie or `access_token`."""

    def __init__(
        self,
        secret: str,
        *,
        audience: str | None = None,
        issuer: str | None = None,
        leeway_seconds: float = 0.0,
    ) -> None:
        self._secret = secret
        self._audience = audience
        self._issuer = issuer
        self._leeway_seconds = leeway_seconds

    def identify(self, request: web.Request) -> Identity:
        identity = self._read(_bearer(request))
        named = request.match_info.get("user_id")
        if named is not None and check_user_id(named, path="user") != identity.user:
            raise Forbidden("the token is another user's")
        return identity

    def _read(self, token: str | None) -> Identity:
        if not token:
            raise Unauthorized("a token is needed: Authorization: Bearer …")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_seconds,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("the token has expired") from error
        except jwt.InvalidTokenError as error:
            raise Unauthorized(f"the token is not valid: {error}") from error
        topics = claims.get("topics", [])
        if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
            raise Unauthorized("the token's topics are not a list of names")
        return Identity(check_user_id(claims["sub"], path="sub"), tuple(topics))


class KeyRing:
    """API keys of backends, each with its scopes. Without any key every backend is let in, which
    only the open, loopback mode allows.
    """

    def __init__(self, scopes_by_key: Mapping[str, Sequence[str]]) -> None:
        self._keys = [(key.encode(), frozenset(scopes)) for key, scopes in scopes_by_key.items()]

    def check(self, request: web.Request, scope: str) -> None:
        """Raises Unauthorized or Forbidden unless the request's key has the scope."""
        if not self._keys:
            return
        given = (_authorization(request) or "").encode()
        found: frozenset[str] | None = None
        for key, scopes in self._keys:  # all of them, whichever fits: the time tells nothing
            if hmac.compare_digest(given, key):
                found = scopes
        if found is None:
            raise Unauthorized("an API key is needed: Authorization: Bearer …")
        if scope not in found:
            raise Forbidden(f"this API key has not the scope {scope!r}")


def topics_of(request: web.Request, identity: Identity, *, most: int) -> list[str]:
    """The topics in `?topics=a,b`, checked. Raises BadRequest and Forbidden."""
    text = request.query.get("topics")
    if not text:
        return []
    named = [topic for topic in text.split(",") if topic]
    topics = sorted({check_topic(topic, path="topics") for topic in named})
    if len(topics) > most:
        raise BadRequest(f"at most {most} topics can be followed at once", path="topics")
    for topic in topics:
        identity.check_may_follow(topic)
    return topics


def _bearer(request: web.Request) -> str | None:
    return (
        _authorization(request) or request.cookies.get(COOKIE) or request.query.get("access_token")
    )


def _authorization(request: web.Request) -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None
