"""Operators' routes: nodes, connections, users, their stored events, and revoked tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
import structlog
from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.core.channel import check_user_id, user_channel
from hub.core.cursor import format_cursor, parse_cursor
from hub.core.denylist import USER
from hub.engine.storage_budget import StorageBudget
from hub.engine.streams.admin_commands import AdminCommands
from hub.engine.streams.connection_query import (
    ConnectionFilter,
    ConnectionInfo,
    ConnectionPage,
    ConnectionQuery,
    NodeState,
)
from hub.error_codes import INVALID_CURSOR
from hub.errors import BadRequest
from hub.http.json_body import json_response, read_json
from hub.http.parameters import LIMIT, USER_ID, query_bool, query_limit, query_seconds
from hub.http.routing import Operation, Parameter, build_routes, json, json_body, key
from hub.ports.events import FROM_START, EventReader

_MAX_BLOCK_SECONDS: Final = 30 * 86400
_MAX_TOKEN_SECONDS: Final = 10 * 366 * 86400
_MAX_PAGE_BYTES: Final = 1024 * 1024
_MAX_BODY_BYTES: Final = 4096
_MAX_TOKEN_ID_CHARS: Final = 256
_log = structlog.get_logger(__name__)


_BlockSeconds = Annotated[float, msgspec.Meta(ge=0, le=_MAX_BLOCK_SECONDS)]
_TokenId = Annotated[
    str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": _MAX_TOKEN_ID_CHARS})
]


class RevokeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /revocations. `expires_at` is the claim `exp` of the token, in Unix seconds:
    the hub refuses the token until then.
    """

    jti: _TokenId
    expires_at: float


class NodesResponse(msgspec.Struct, frozen=True):
    """The nodes that are running."""

    nodes: list[NodeState]


class UserResponse(msgspec.Struct, frozen=True):
    """`blocked_until` is in Unix seconds. `missing` are the nodes that did not answer in time.
    `stored_bytes` is what the user has made the hub store, and `max_stored_bytes` the limit
    (`generations.max_stored_bytes_per_user`), null for none.
    """

    user: str
    blocked_until: float | None
    connections: Sequence[ConnectionInfo]
    total: int
    missing: Sequence[str]
    stored_bytes: int
    max_stored_bytes: int | None


class StoredEvent(msgspec.Struct, frozen=True):
    """`data` is the publisher's JSON."""

    cursor: str
    event: str
    data: Any


class EventsResponse(msgspec.Struct, frozen=True):
    """`lost` is the reason if events after `after` are no longer stored. `next` is the `after` of
    the next page. `more` is true if there are further events.
    """

    events: list[StoredEvent]
    lost: str | None
    next: str
    more: bool


class DisconnectResponse(msgspec.Struct, frozen=True):
    """`blocked_until` is in Unix seconds."""

    user: str
    blocked_until: float | None


_WAITING: Final = Parameter(
    "query", "waiting", bool, "Only connections for which events wait, the most first"
)
_CONNECTION: Final = Parameter("query", "connection", str, "Only the connection with this id")
_AFTER: Final = Parameter(
    "query", "after", str, "Only connections after this one: `next`, without `waiting`"
)


class UserRoutes:
    """The operators' routes of the internal listener. Reading requires the scope `read`, changes
    require `admin`.
    """

    def __init__(
        self,
        commands: AdminCommands,
        connections: ConnectionQuery,
        events: EventReader,
        budget: StorageBudget,
        keys: ApiKeys,
    ) -> None:
        self._commands = commands
        self._connections = connections
        self._events = events
        self._budget = budget
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="listNodes",
        method="GET",
        paths=["/nodes"],
        tag="users",
        summary="List the nodes",
        security=key("read"),
        responses=[json(200, NodesResponse, "The running nodes.")],
    )
    async def nodes(self, request: web.Request) -> web.Response:
        """Lists the running nodes and the number of their connections."""
        self._keys.check(request, "read")
        return json_response(NodesResponse(await self._connections.nodes()))

    @Operation(
        id="listConnections",
        method="GET",
        paths=["/connections"],
        tag="users",
        summary="List the connections",
        security=key("read"),
        parameters=[LIMIT, _WAITING, _CONNECTION, _AFTER],
        responses=[json(200, ConnectionPage, "The connections on all nodes.")],
    )
    async def connections(self, request: web.Request) -> web.Response:
        """Lists the connections on all nodes in the order of their ids, and returns their total
        number. With `waiting`, those are listed that read slowly, the slowest first.
        """
        self._keys.check(request, "read")
        which = ConnectionFilter(
            limit=query_limit(request),
            waiting=query_bool(request, "waiting") or False,
            connection=request.query.get("connection"),
            after=request.query.get("after", ""),
        )
        return json_response(await self._connections.list(which))

    @Operation(
        id="getUser",
        method="GET",
        paths=["/users/{user_id}"],
        tag="users",
        summary="Read the connections of a user",
        security=key("read"),
        parameters=[USER_ID, LIMIT],
        responses=[json(200, UserResponse, "The user's connections on all nodes.")],
    )
    async def user(self, request: web.Request) -> web.Response:
        """Lists the connections of a user on all nodes, and tells whether the user is blocked, and
        how much the hub stores for the user.
        """
        self._keys.check(request, "read")
        user = check_user_id(request.match_info["user_id"], path="user_id")
        page = await self._connections.list(ConnectionFilter(limit=query_limit(request), user=user))
        response = UserResponse(
            user,
            self._commands.denylist.blocked_until(USER + user, time.time()),
            page.connections,
            page.total,
            page.missing,
            stored_bytes=await self._budget.used_bytes(user),
            max_stored_bytes=self._budget.max_bytes,
        )
        return json_response(response)

    @Operation(
        id="listUserEvents",
        method="GET",
        paths=["/users/{user_id}/events"],
        tag="users",
        summary="Read the stored events of a user",
        security=key("read"),
        parameters=[
            USER_ID,
            LIMIT,
            Parameter("query", "after", str, "Only events after this cursor"),
        ],
        responses=[json(200, EventsResponse, "A page of events.")],
    )
    async def events(self, request: web.Request) -> web.Response:
        """Returns the stored events of a user, the oldest first."""
        self._keys.check(request, "read")
        channel = user_channel(check_user_id(request.match_info["user_id"], path="user_id"))
        text = request.query.get("after")
        after = parse_cursor(text, [channel]).get(channel) if text else FROM_START
        if after is None:
            raise BadRequest(
                "after must be a cursor of this user's channel", code=INVALID_CURSOR, path="after"
            )
        pages = await self._events.read(
            {channel: after}, max_events=query_limit(request), max_bytes=_MAX_PAGE_BYTES
        )
        page = pages[channel]
        stored = [
            StoredEvent(
                format_cursor({channel: event.position}), event.name, msgspec.Raw(event.data)
            )
            for event in page.events
            if event.position is not None
        ]
        next_cursor = format_cursor({channel: page.end})
        more = page.end != page.head
        return json_response(EventsResponse(stored, page.reset_reason, next_cursor, more))

    @Operation(
        id="disconnectUser",
        method="DELETE",
        paths=["/users/{user_id}/connections"],
        tag="users",
        summary="Disconnect a user",
        security=key("admin"),
        parameters=[
            USER_ID,
            Parameter(
                "query",
                "block_seconds",
                _BlockSeconds,
                "How long the user may not connect again; 0 by default",
            ),
        ],
        responses=[json(202, DisconnectResponse, "The command was sent to all nodes.")],
    )
    async def disconnect(self, request: web.Request) -> web.Response:
        """Ends the connections of a user on all nodes, and can block the user for some time."""
        key = self._keys.check(request, "admin")
        user = check_user_id(request.match_info["user_id"], path="user_id")
        seconds = query_seconds(request, "block_seconds", default=0, max_seconds=_MAX_BLOCK_SECONDS)
        until = await self._commands.disconnect(user, seconds)
        _log.info("audit.disconnected", by=key, user=user, block_seconds=seconds)
        return json_response(DisconnectResponse(user, until), status=202)

    @Operation(
        id="revokeToken",
        method="POST",
        paths=["/revocations"],
        tag="users",
        summary="Revoke a token",
        security=key("admin"),
        body=json_body(RevokeBody),
        responses=[json(202, RevokeBody, "The command was sent to all nodes.")],
    )
    async def revoke(self, request: web.Request) -> web.Response:
        """Revokes a token: all nodes refuse it and end its connections."""
        key = self._keys.check(request, "admin")
        body = await read_json(request, RevokeBody, max_bytes=_MAX_BODY_BYTES)
        if not 1 <= len(body.jti) <= _MAX_TOKEN_ID_CHARS or not body.jti.isprintable():
            raise BadRequest(
                f"jti must have between 1 and {_MAX_TOKEN_ID_CHARS} printable characters",
                path="jti",
            )
        if not -math.inf < body.expires_at - time.time() < _MAX_TOKEN_SECONDS:
            raise BadRequest("expires_at must be a time within ten years", path="expires_at")
        await self._commands.revoke(body.jti, body.expires_at)
        _log.info("audit.revoked", by=key, jti=body.jti)
        return json_response(body, status=202)
