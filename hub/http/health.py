"""GET /healthz and /readyz: is the process alive, and should it get new clients."""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.engine.connections import Connections
from hub.errors import BrokerUnavailable
from hub.http.errors import problem_response
from hub.http.json_body import json_response
from hub.http.routing import Operation, build_routes, json
from hub.ports.backend import BackendHealth


class HealthResponse(msgspec.Struct, frozen=True):
    """A node's word."""

    status: str
    node: str


class ReadyResponse(msgspec.Struct, frozen=True):
    """connections: how many streams the node holds."""

    status: str
    node: str
    connections: int


class HealthRoutes:
    """The probes of the internal listener; they need no key."""

    def __init__(self, health: BackendHealth, fanout: Connections, *, node: str) -> None:
        self._health = health
        self._fanout = fanout
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/healthz"],
        tag="operation",
        summary="Is the process alive",
        responses=[json(200, HealthResponse, "It is")],
    )
    async def alive(self, request: web.Request) -> web.Response:
        """200 while the process answers at all."""
        return json_response(HealthResponse("alive", self._node))

    @Operation(
        method="GET",
        paths=["/readyz"],
        tag="operation",
        summary="Should it get new clients",
        responses=[json(200, ReadyResponse, "It should")],
        refuses=[503],
    )
    async def ready(self, request: web.Request) -> web.Response:
        """200, or 503 with the reason while draining or while the broker is away."""
        reason = "the node is draining" if self._fanout.draining else None
        if reason is None:
            try:
                await self._health.check_ready()
            except BrokerUnavailable as error:
                reason = str(error)
        if reason is not None:
            return problem_response(503, reason, headers={"Retry-After": "1"})
        return json_response(ReadyResponse("ready", self._node, len(self._fanout)))
