"""grpc.health.v1: NOT_SERVING while the node drains or has no broker.

Anybody may ask and watch, so nothing here waits for a client, and none of them for another: the
official servicer writes to who watches under a lock, and one that does not read holds up all.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from grpc import StatusCode
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from hub.engine.connections import Connections
from hub.errors import BrokerUnavailable
from hub.ports.backend import BackendHealth
from hub.ports.clock import Clock

NAME: Final = health.SERVICE_NAME
_LOOK_SECONDS: Final = 1.0
_LOOK_AGAIN_SECONDS: Final = 0.1  # while it is away, and at the beginning
_Answer: Final = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # which has no types
    """services: whose health it tells, beside the node's own (the empty name)."""

    def __init__(
        self,
        backend: BackendHealth,
        fanout: Connections,
        clock: Clock,
        services: Collection[str],
    ) -> None:
        self._backend = backend
        self._fanout = fanout
        self._clock = clock
        self._services = {"", *services}
        self._broker_available = True

    async def run(self) -> None:
        """Looks after the broker: once for all who ask, however often they do."""
        while True:
            await self.refresh()
            await self._clock.sleep(
                _LOOK_SECONDS if self._broker_available else _LOOK_AGAIN_SECONDS
            )

    async def refresh(self) -> None:
        """Finds out whether the broker is here."""
        try:
            await self._backend.check_ready()
            self._broker_available = True
        except BrokerUnavailable:
            self._broker_available = False

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """How it is now."""
        if request.service not in self._services:
            await context.abort(StatusCode.NOT_FOUND, "this listener has no such service")
        return _Answer(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """The same, and each time that it has changed."""
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                await context.write(_Answer(status=status))
                told = status
            await self._clock.sleep(_LOOK_SECONDS)

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(_Answer.SERVICE_UNKNOWN)
        serving = self._broker_available and not self._fanout.draining
        return int(_Answer.SERVING if serving else _Answer.NOT_SERVING)
