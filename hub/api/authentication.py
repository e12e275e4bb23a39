"""Which user a request is from, by a JSON Web Token (tokens.py).

In development, on loopback only, no token is needed and the request says itself who it is from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from hub.api.client_address import check_is_called_local
from hub.api.request_context import RequestContext
from hub.api.tokens import TokenReader
from hub.core.channel import check_topic, check_user_id
from hub.core.denylist import TOKEN, USER, Denylist
from hub.errors import BadRequest, Forbidden, Unauthorized
from hub.http.cors import AllowedOrigins
from hub.http.errors import is_openai_path

COOKIE: Final = "hub_token"
_DEV_USER: Final = "dev"


class Identity(msgspec.Struct, frozen=True):
    """A user, and the topics that it may follow (`*` at the end is a wildcard). expires_at: Unix
    seconds, None for never. token_id: the token's `jti`.
    """

    user: str
    topics: tuple[str, ...] = ()
    expires_at: float | None = None
    token_id: str | None = None

    def check_may_follow(self, topic: str) -> None:
        """Raises Forbidden for a topic that the token does not name."""
        for allowed in self.topics:
            if allowed == topic or (allowed.endswith("*") and topic.startswith(allowed[:-1])):
                return
        raise Forbidden(f"the token does not allow the topic {topic!r}")


class Authenticator(Protocol):
    """Lets users in."""

    async def identify(self, request: RequestContext) -> Identity:
        """Who this is. Raises Unauthorized, or Forbidden for another user's path."""
        ...


class DevAuthenticator:
    """For development: everybody is who the path, or `?user=`, says; clients that know nothing of
    the hub (/v1) need not say it.
    """

    async def identify(self, request: RequestContext) -> Identity:
        check_is_called_local(request)
        named = request.match_info.get("user_id") or request.query.get("user")
        if named is None and is_openai_path(request):
            named = _DEV_USER
        if not named:
            raise BadRequest("say who you are: ?user=alice", path="user")
        return Identity(check_user_id(named, path="user"), ("*",))


class JwtAuthenticator:
    """Checks the token in `Authorization: Bearer`, the cookie or `access_token`."""

    def __init__(self, reader: TokenReader, origins: AllowedOrigins) -> None:
        self._reader = reader
        self._origins = origins

    async def identify(self, request: RequestContext) -> Identity:
        token = bearer_token(request) or request.query.get("access_token")
        if not token and (token := request.cookies.get(COOKIE)):
            self._origins.check_cookie(request)
        if not token:
            raise Unauthorized("a token is needed: Authorization: Bearer …")
        claims = await self._reader.read(token)
        named = request.match_info.get("user_id")
        if named is not None and check_user_id(named, path="user") != claims.user:
            raise Forbidden("the token is another user's")
        return Identity(claims.user, claims.topics, claims.expires_at, claims.token_id)


class DenylistAuthenticator:
    """Another door, and who is not let in for now."""

    def __init__(self, authenticator: Authenticator, denylist: Denylist) -> None:
        self._authenticator = authenticator
        self._denylist = denylist

    async def identify(self, request: RequestContext) -> Identity:
        identity = await self._authenticator.identify(request)
        now = time.time()
        if self._denylist.blocked_until(USER + identity.user, now) is not None:
            raise Forbidden("this user is blocked for now")
        token = identity.token_id
        if token is not None and self._denylist.blocked_until(TOKEN + token, now) is not None:
            raise Unauthorized("the token has been revoked")
        return identity


def requested_topics(request: RequestContext, identity: Identity, *, max_topics: int) -> list[str]:
    """The topics in `?topics=a,b`, checked. Raises BadRequest and Forbidden."""
    text = request.query.get("topics")
    return check_topics(text.split(",") if text else [], identity, max_topics=max_topics)


def check_topics(names: Sequence[str], identity: Identity, *, max_topics: int) -> list[str]:
    """The same from their names."""
    named = [topic for topic in names if topic]
    topics = sorted({check_topic(topic, path="topics") for topic in named})
    if len(topics) > max_topics:
        raise BadRequest(f"at most {max_topics} topics can be followed at once", path="topics")
    for topic in topics:
        identity.check_may_follow(topic)
    return topics


def bearer_token(request: RequestContext) -> str | None:
    """What stands behind `Authorization: Bearer`."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None
