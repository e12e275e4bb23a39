"""Operators' routes over users: send them away, block them, revoke a token."""

from __future__ import annotations

import math
import time
from typing import Final

import msgspec
import structlog
from aiohttp import web

from hub.core.channel import check_user_id
from hub.engine.control import Control
from hub.errors import BadRequest
from hub.web.bodies import json_response, read_json
from hub.web.keys import KeyRing

_MOST_BLOCK_SECONDS: Final = 30 * 86400
_MOST_TOKEN_SECONDS: Final = 10 * 366 * 86400
_MOST_BODY_BYTES: Final = 4096
_MOST_TOKEN_ID_CHARS: Final = 256
_log = structlog.get_logger(__name__)


class RevokeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /revocations. expires_at: the token's `exp`; later it is refused anyway."""

    jti: str
    expires_at: float


class UserRoutes:
    """Routes of the internal listener, for keys with the scope `admin`."""

    def __init__(self, control: Control, keys: KeyRing) -> None:
        self._control = control
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return [
            web.delete("/users/{user_id}/connections", self.disconnect),
            web.post("/revocations", self.revoke),
        ]

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
