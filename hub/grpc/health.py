"""grpc.health.v1 by the official servicer: NOT_SERVING while the node drains or has no broker."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from grpc_health.v1 import health, health_pb2

from hub.engine.fanout import Fanout
from hub.errors import BrokerUnavailable
from hub.ports import Broker, Clock

NAME: Final = health.SERVICE_NAME
_WATCH_SECONDS: Final = 1.0


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # which has no types
    """services: whose health it tells, beside the node's own (the empty name)."""

    def __init__(
        self, broker: Broker, fanout: Fanout, clock: Clock, services: Collection[str]
    ) -> None:
        super().__init__()
        self._broker = broker
        self._fanout = fanout
        self._clock = clock
        self._services = ("", *services)

    async def keep_informed(self) -> None:
        """Tells those who watch."""
        while True:
            await self.look()
            await self._clock.sleep(_WATCH_SECONDS)

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """How it is now."""
        await self.look()
        return await super().Check(request, context)

    async def look(self) -> None:
        """Finds out, and tells those who watch."""
        statuses = health_pb2.HealthCheckResponse
        status = statuses.NOT_SERVING if self._fanout.draining else statuses.SERVING
        try:
            await self._broker.ping()
        except BrokerUnavailable:
            status = statuses.NOT_SERVING
        for service in self._services:
            await self.set(service, status)
