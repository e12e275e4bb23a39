"""Operators' routes for the data of one user: erasure and export."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.core.channel import check_user_id
from hub.engine.user_data import UserDataRegistry
from hub.errors import DependencyError
from hub.http.parameters import USER_ID
from hub.http.routing import Operation, ResponseSpec, build_routes, json, key

_WRITE_TIMEOUT_SECONDS: Final = 30.0
_BLOCK_BYTES: Final = 16 * 1024
_log = structlog.get_logger(__name__)


class UserDataRoutes:
    """The routes of the internal listener that erase and export what is kept about a user."""

    def __init__(self, data: UserDataRegistry, keys: ApiKeys) -> None:
        self._data = data
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="eraseUserData",
        method="DELETE",
        paths=["/users/{user_id}/data"],
        tag="users",
        summary="Erase the data of a user",
        security=key("admin"),
        parameters=[USER_ID],
        responses=[ResponseSpec(status=204, description="The data of the user is erased.")],
        refuses=[409],
    )
    async def erase(self, request: web.Request) -> web.Response:
        """Stops the answers of a user and erases everything that the hub keeps about the user. The
        user's open connections receive `hub.reset`. A block of the user stays until it ends.
        """
        key = self._keys.check(request, "admin")
        user = check_user_id(request.match_info["user_id"], path="user_id")
        await self._data.erase(user)
        _log.info("audit.erased", by=key, user=user)
        return web.Response(status=204)

    @Operation(
        id="exportUserData",
        method="GET",
        paths=["/users/{user_id}/data"],
        tag="users",
        summary="Export the data of a user",
        security=key("admin"),
        parameters=[USER_ID],
        responses=[json(200, dict[str, Any], "What the hub keeps about the user.")],
    )
    async def export(self, request: web.Request) -> web.StreamResponse:
        """Returns everything that the hub keeps about a user, as one JSON object. It is streamed;
        the last member, `complete`, says that nothing is missing.
        """
        key = self._keys.check(request, "admin")
        user = check_user_id(request.match_info["user_id"], path="user_id")
        _log.info("audit.exported", by=key, user=user)
        response = web.StreamResponse(
            headers={"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
        )
        block = b""
        try:
            async for part in self._data.export(user):
                block += part
                if len(block) >= _BLOCK_BYTES:
                    await _write(request, response, block)
                    block = b""
            await _write(request, response, block)
        except (DependencyError, TimeoutError) as error:
            if not response.prepared or request.transport is None:
                raise
            _log.warning("export.incomplete", user=user, error=str(error))
            request.transport.abort()  # the client sees that the body has no end
        return response


async def _write(request: web.Request, response: web.StreamResponse, block: bytes) -> None:
    async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
        if not response.prepared:
            await response.prepare(request)
        await response.write(block)
