"""grpc.health.v1: NOT_SERVING while the node drains or the broker is unavailable.

Everybody may call Check and Watch, so a client that does not read must not delay the others. The
official servicer writes to all watchers under one lock, so this module has its own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from grpc import StatusCode
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from hub.engine.streams.connections import Connections
from hub.errors import BrokerUnavailable
from hub.ports.backend import BackendHealth
from hub.ports.clock import Clock

NAME: Final = health.SERVICE_NAME
_CHECK_SECONDS: Final = 1.0
_RECHECK_SECONDS: Final = 0.1  # while the broker is unavailable, and at the beginning
_Response: Final = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # which has no types
    """The health of a node and its services.

    services: names of services; the empty name, for the whole node, is always known.
    """

    def __init__(
        self,
        backend: BackendHealth,
        connections: Connections,
        clock: Clock,
        services: Collection[str],
    ) -> None:
        self._backend = backend
        self._connections = connections
        self._clock = clock
        self._services = {"", *services}
        self._broker_available = True

    async def run(self) -> None:
        """Check the broker regularly, however often clients ask."""
        while True:
            await self.refresh()
            await self._clock.sleep(_CHECK_SECONDS if self._broker_available else _RECHECK_SECONDS)

    async def refresh(self) -> None:
        """Check the broker now."""
        try:
            await self._backend.check_ready()
            self._broker_available = True
        except BrokerUnavailable:
            self._broker_available = False

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Return the current status."""
        if request.service not in self._services:
            await context.abort(StatusCode.NOT_FOUND, "this listener has no such service")
        return _Response(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Stream the current status and every change of it."""
        sent = None
        while True:
            status = self._status(request.service)
            if status != sent:
                await context.write(_Response(status=status))
                sent = status
            await self._clock.sleep(_CHECK_SECONDS)

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(_Response.SERVICE_UNKNOWN)
        serving = self._broker_available and not self._connections.draining
        return int(_Response.SERVING if serving else _Response.NOT_SERVING)
