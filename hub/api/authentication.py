"""Which user a request belongs to.

JwtAuthenticator checks a JSON Web Token (tokens.py), TicketAuthenticator a ticket in the URL,
DevAuthenticator accepts every user on loopback, and DenylistAuthenticator refuses blocked users
and revoked tokens. hub/http/callback.py asks the application instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from hub import error_codes
from hub.api.client_address import check_is_called_local
from hub.api.origins import AllowedOrigins
from hub.api.request_context import RequestContext, last_event_id
from hub.api.scopes import ALL_SCOPES, ASK, STREAM, check_scope
from hub.api.tokens import TokenReader
from hub.core.channel import allows_topic, check_topic, check_user_id
from hub.core.denylist import TOKEN, USER, Denylist
from hub.engine.tickets import Tickets
from hub.errors import BadRequest, Forbidden, Unauthorized

COOKIE: Final = "hub_token"
_DEV_USER: Final = "dev"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")


class Identity(msgspec.Struct, frozen=True):
    """An authenticated user.

    topics: the topics that the user may follow; `*` at the end is a wildcard. expires_at: Unix
    seconds, None for never. token_id: the `jti` claim of the token. scopes: what the user may do
    (scopes.py). ask_topics: the topics in which the user may ask, in the form of `topics`.
    """

    user: str
    topics: tuple[str, ...] = ()
    expires_at: float | None = None
    token_id: str | None = None
    scopes: frozenset[str] = ALL_SCOPES
    ask_topics: tuple[str, ...] = ()

    def check_may_ask(self) -> None:
        """Raise Forbidden if the user may not start and stop answers."""
        check_scope(self.scopes, ASK)

    def check_may_stream(self) -> None:
        """Raise Forbidden if the user may not follow events and read answers."""
        check_scope(self.scopes, STREAM)

    def check_may_follow(self, topic: str) -> None:
        """Raise Forbidden if the user may not follow the topic."""
        if not allows_topic(self.topics, topic):
            raise Forbidden(
                f"the token does not allow the topic {topic!r}", code=error_codes.TOPIC_NOT_ALLOWED
            )

    def check_may_ask_in(self, topic: str) -> None:
        """Raise Forbidden if the user may not ask in the topic."""
        if not allows_topic(self.ask_topics, topic):
            raise Forbidden(
                f"the token does not allow to ask in the topic {topic!r}: its claim ask_topics "
                "must name it",
                code=error_codes.TOPIC_NOT_ALLOWED,
            )


class Authenticator(Protocol):
    """Finds the user of a request."""

    async def identify(self, request: RequestContext) -> Identity:
        """Return the user.

        Raise Unauthorized, or Forbidden if the path names another user.
        """
        ...


class DevAuthenticator:
    """For development: the user is the one in the path or in `?user=`. Nothing is checked.

    default_user_prefixes: path prefixes of APIs whose clients cannot name a user; their user is
    `dev`.
    """

    def __init__(self, origins: AllowedOrigins, default_user_prefixes: Sequence[str] = ()) -> None:
        self._origins = origins
        self._default_user_prefixes = tuple(default_user_prefixes)

    async def identify(self, request: RequestContext) -> Identity:
        check_is_called_local(request)
        if request.method not in _SAFE_METHODS:
            self._origins.check_local_page(request)
        user = request.match_info.get("user_id") or request.query.get("user")
        if user is None and request.path.startswith(self._default_user_prefixes):
            user = _DEV_USER
        if not user:
            raise BadRequest(
                "name the user in the URL, for example ?user=alice",
                code=error_codes.USER_REQUIRED,
                path="user",
            )
        return Identity(check_user_id(user, path="user"), ("*",), ask_topics=("*",))


class JwtAuthenticator:
    """Checks the token in `Authorization: Bearer` or `x-api-key`, the query parameter or the
    cookie.
    """

    def __init__(self, reader: TokenReader, origins: AllowedOrigins) -> None:
        self._reader = reader
        self._origins = origins

    async def identify(self, request: RequestContext) -> Identity:
        token = user_token(request) or request.query.get("access_token")
        if not token and (token := request.cookies.get(COOKIE)):
            self._origins.check_cookie(request)
        if not token:
            raise Unauthorized(
                "a token is required: send Authorization: Bearer <token>",
                code=error_codes.TOKEN_REQUIRED,
            )
        claims = await self._reader.read(token)
        check_path_user(request, claims.user)
        return Identity(
            claims.user,
            claims.topics,
            claims.expires_at,
            claims.token_id,
            claims.scopes,
            claims.ask_topics,
        )


class TicketAuthenticator:
    """For streams: checks the ticket in the URL; without one, asks another authenticator."""

    def __init__(self, authenticator: Authenticator, tickets: Tickets) -> None:
        self._authenticator = authenticator
        self._tickets = tickets

    async def identify(self, request: RequestContext) -> Identity:
        name = request.query.get("ticket")
        if name is None:
            return await self._authenticator.identify(request)
        ticket = await self._tickets.redeem(name, last_event_id(request))
        check_path_user(request, ticket.user)
        scopes = ALL_SCOPES if ticket.scopes is None else frozenset(ticket.scopes)
        return Identity(
            ticket.user,
            ticket.topics,
            ticket.expires_at,
            ticket.token_id,
            scopes,
            ticket.ask_topics,
        )


class DenylistAuthenticator:
    """Asks another authenticator, and refuses blocked users and revoked tokens."""

    def __init__(self, authenticator: Authenticator, denylist: Denylist) -> None:
        self._authenticator = authenticator
        self._denylist = denylist

    async def identify(self, request: RequestContext) -> Identity:
        identity = await self._authenticator.identify(request)
        now = time.time()
        if self._denylist.blocked_until(USER + identity.user, now) is not None:
            raise Forbidden("this user is blocked for now", code=error_codes.USER_BLOCKED)
        token = identity.token_id
        if token is not None and self._denylist.blocked_until(TOKEN + token, now) is not None:
            raise Unauthorized("the token has been revoked", code=error_codes.TOKEN_REVOKED)
        return identity


def check_path_user(request: RequestContext, user: str) -> None:
    """Raise Forbidden if the path names another user than the authenticated one."""
    path_user = request.match_info.get("user_id")
    if path_user is not None and check_user_id(path_user, path="user") != user:
        raise Forbidden(
            f"you are authenticated as another user: as {user!r}, and the path names {path_user!r}",
            code=error_codes.USER_MISMATCH,
        )


def check_topics(names: Sequence[str], identity: Identity, *, max_topics: int) -> list[str]:
    """Return the topics sorted, without duplicates and empty names. Raise BadRequest, Forbidden."""
    given = [topic for topic in names if topic]
    topics = sorted({check_topic(topic, path="topics") for topic in given})
    if len(topics) > max_topics:
        raise BadRequest(
            f"a connection may follow at most {max_topics} topics",
            code=error_codes.TOO_MANY_TOPICS,
            path="topics",
        )
    for topic in topics:
        identity.check_may_follow(topic)
    return topics


def user_token(request: RequestContext) -> str | None:
    """Return the user's token in a header, or None.

    The clients of Anthropic's API send it as `x-api-key` unless they are told otherwise.
    """
    return bearer_token(request) or request.headers.get("x-api-key", "").strip() or None


def bearer_token(request: RequestContext) -> str | None:
    """Return the token in the header `Authorization: Bearer`, or None."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None
