"""Operators' routes over users: who is there, their events, away with them, revoked tokens."""

from __future__ import annotations

import math
import time
from typing import Final

import msgspec
import structlog
from aiohttp import web

from hub.core.channel import check_user_id, user_channel
from hub.core.cursor import format_part, parse_cursor
from hub.core.denials import USER
from hub.engine.control import Control
from hub.engine.presence import Presence
from hub.errors import BadRequest
from hub.ports import FROM_START, Broker
from hub.web.bodies import json_response, read_json
from hub.web.keys import KeyRing

_MOST_BLOCK_SECONDS: Final = 30 * 86400
_MOST_TOKEN_SECONDS: Final = 10 * 366 * 86400
_MOST_LISTED: Final = 1000
_MOST_PAGE_BYTES: Final = 1024 * 1024
_MOST_BODY_BYTES: Final = 4096
_MOST_TOKEN_ID_CHARS: Final = 256
_log = structlog.get_logger(__name__)


def limit_of(request: web.Request) -> int:
    """`?limit=`, 100 unless told. Raises BadRequest."""
    text = request.query.get("limit", "100")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _MOST_LISTED):
        raise BadRequest(f"limit is 1 to {_MOST_LISTED}", path="limit")
    return int(text)


class RevokeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /revocations. expires_at: the token's `exp`; later it is refused anyway."""

    jti: str
    expires_at: float


class UserRoutes:
    """Routes of the internal listener: to look with the scope `read`, to order with `admin`."""

    def __init__(self, control: Control, presence: Presence, broker: Broker, keys: KeyRing) -> None:
        self._control = control
        self._presence = presence
        self._broker = broker
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/nodes", self.nodes),
            web.get("/connections", self.connections),
            web.get("/users/{user_id}", self.user),
            web.get("/users/{user_id}/events", self.events),
            web.delete("/users/{user_id}/connections", self.disconnect),
            web.post("/revocations", self.revoke),
        ]

    async def nodes(self, request: web.Request) -> web.Response:
        """The nodes that live, and how many each one holds."""
        self._keys.check(request, "read")
        states = await self._presence.nodes()
        return json_response({"nodes": states})

    async def connections(self, request: web.Request) -> web.Response:
        """Who is connected, on all nodes: `?limit=` of them, and how many there are."""
        self._keys.check(request, "read")
        return json_response(await self._presence.who(None, limit_of(request)))

    async def user(self, request: web.Request) -> web.Response:
        """Where a user is connected, on all nodes."""
        self._keys.check(request, "read")
        user = check_user_id(request.match_info["user_id"], path="user_id")
        roll = await self._presence.who(user, limit_of(request))
        until = self._control.denials.until(USER + user, time.time())
        return json_response({"user": user, "blocked_until": until, **msgspec.structs.asdict(roll)})

    async def events(self, request: web.Request) -> web.Response:
        """A user's stored events after `?after=` (a cursor), oldest first."""
        self._keys.check(request, "read")
        channel = user_channel(check_user_id(request.match_info["user_id"], path="user_id"))
        text = request.query.get("after")
        after = parse_cursor(text, [channel]).get(channel) if text else FROM_START
        if after is None:
            raise BadRequest("after is no cursor of this user's channel", path="after")
        pages = await self._broker.read(
            {channel: after}, max_events=limit_of(request), max_bytes=_MOST_PAGE_BYTES
        )
        page = pages[channel]
        return json_response(
            {
                "events": [
                    {
                        "cursor": format_part(channel, event.position),
                        "event": event.name,
                        "data": msgspec.Raw(event.data),
                    }
                    for event in page.events
                    if event.position is not None
                ],
                "lost": page.lost,
                "next": format_part(channel, page.read_to),
                "more": page.read_to != page.head,
            }
        )

    async def disconnect(self, request: web.Request) -> web.Response:
        """202: every node ends the user's connections; `?block_seconds=` keeps it out."""
        by = self._keys.check(request, "admin")
        user = check_user_id(request.match_info["user_id"], path="user_id")
        text = request.query.get("block_seconds", "0")
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= _MOST_BLOCK_SECONDS:
            raise BadRequest(
                f"block_seconds is a number from 0 to {_MOST_BLOCK_SECONDS}", path="block_seconds"
            )
        until = await self._control.disconnect(user, seconds)
        _log.info("audit.disconnected", by=by, user=user, block_seconds=seconds)
        return json_response({"user": user, "blocked_until": until}, status=202)

    async def revoke(self, request: web.Request) -> web.Response:
        """202: the token is refused from now on, and its connections end on every node."""
        by = self._keys.check(request, "admin")
        body = await read_json(request, RevokeBody, max_bytes=_MOST_BODY_BYTES)
        if not 1 <= len(body.jti) <= _MOST_TOKEN_ID_CHARS or not body.jti.isprintable():
            raise BadRequest(f"jti has 1 to {_MOST_TOKEN_ID_CHARS} characters", path="jti")
        if not -math.inf < body.expires_at - time.time() < _MOST_TOKEN_SECONDS:
            raise BadRequest("expires_at is a time within ten years", path="expires_at")
        await self._control.revoke(body.jti, body.expires_at)
        _log.info("audit.revoked", by=by, jti=body.jti)
        return json_response({"jti": body.jti, "expires_at": body.expires_at}, status=202)
