"""GET /healthz and /readyz: is the process alive, and should it get new clients."""

from __future__ import annotations

from aiohttp import web

from hub.engine.fanout import Fanout
from hub.errors import BrokerUnavailable
from hub.ports import Broker
from hub.web.bodies import json_response
from hub.web.errors import problem


class HealthRoutes:
    """The probes of the internal listener; they need no key."""

    def __init__(self, broker: Broker, fanout: Fanout, *, node: str) -> None:
        self._broker = broker
        self._fanout = fanout
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self.alive), web.get("/readyz", self.ready)]

    async def alive(self, request: web.Request) -> web.Response:
        """200 while the process answers at all."""
        return json_response({"status": "alive", "node": self._node})

    async def ready(self, request: web.Request) -> web.Response:
        """200, or 503 with the reason while draining or while the broker is away."""
        reason = "the node is draining" if self._fanout.draining else None
        if reason is None:
            try:
                await self._broker.ping()
            except BrokerUnavailable as error:
                reason = str(error)
        if reason is not None:
            return problem(503, reason, headers={"Retry-After": "1"})
        ready = {"status": "ready", "node": self._node, "connections": len(self._fanout)}
        return json_response(ready)
