"""Measure how long an event takes from its publish to the sockets of this node.

Each second the node publishes an event of its own, which takes the path of all others through the
broker and back. The node's clock measures both ends, because the clocks of two machines differ.
"""

from __future__ import annotations

import secrets
from typing import Final

from hub.core.channel import Channel
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connections import Connections
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Publication, Subscriptions

_INTERVAL_SECONDS: Final = 1.0
_LOST_SECONDS: Final = 10.0  # a probe that has not arrived by then is lost


class LatencyProbe:
    """Publishes the probe, receives it, and records how long both took."""

    def __init__(
        self,
        events: EventWriter,
        subscriptions: Subscriptions,
        connections: Connections,
        clock: Clock,
        metrics: NodeMetrics,
    ) -> None:
        self._events = events
        self._subscriptions = subscriptions
        self._clock = clock
        self._metrics = metrics
        self._channel = Channel(f"hub:probe:{secrets.token_hex(8)}")
        self._published_at: float | None = None  # of the probe that has not arrived yet
        connections.tap(self._channel, self._on_event)

    async def run(self) -> None:
        """Publish a probe each second, until cancelled. Raise BrokerUnavailable."""
        self._published_at = None
        await self._subscriptions.subscribe([self._channel])
        probe = Publication(channel=self._channel, name="probe", data=b"0", ephemeral=True)
        while True:
            now = self._clock.now()
            if self._published_at is None or now - self._published_at >= _LOST_SECONDS:
                self._published_at = now  # otherwise the last one has not arrived yet
                await self._events.publish([probe])
                self._metrics.round_trip.observe(self._clock.now() - now)
            await self._clock.sleep(_INTERVAL_SECONDS)

    def _on_event(self) -> None:
        if self._published_at is not None:
            self._metrics.delivery_delay.observe(self._clock.now() - self._published_at)
            self._published_at = None
