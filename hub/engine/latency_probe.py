"""How long an event takes from its publish to the sockets here.

One of the node's own goes the way of all others each second, through the broker and back, and is
timed by one clock: no other would do, since the clocks of two machines differ.
"""

from __future__ import annotations

import secrets
from typing import Final

from hub.core.channel import Channel
from hub.engine.connections import Connections
from hub.engine.node_metrics import NodeMetrics
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Publication, Subscriptions

_EVERY_SECONDS: Final = 1.0
_LOST_SECONDS: Final = 10.0  # a link that is silent for so long is broken


class LatencyProbe:
    """Publishes and hears, and counts how long both took."""

    def __init__(
        self,
        events: EventWriter,
        subscriptions: Subscriptions,
        fanout: Connections,
        clock: Clock,
        counts: NodeMetrics,
    ) -> None:
        self._events = events
        self._subscriptions = subscriptions
        self._clock = clock
        self._counts = counts
        self._channel = Channel(f"hub:probe:{secrets.token_hex(8)}")
        self._published_at: float | None = None
        fanout.tap(self._channel, self._on_event)

    async def run(self) -> None:
        """Until cancelled. Raises BrokerUnavailable."""
        self._published_at = None
        await self._subscriptions.subscribe([self._channel])
        event = Publication(channel=self._channel, name="probe", data=b"0", ephemeral=True)
        while True:
            begun = self._clock.now()
            if self._published_at is None or begun - self._published_at >= _LOST_SECONDS:
                self._published_at = begun  # else the last one is still on its way
                await self._events.publish([event])
                self._counts.round_trip.observe(self._clock.now() - begun)
            await self._clock.sleep(_EVERY_SECONDS)

    def _on_event(self) -> None:
        if self._published_at is not None:
            self._counts.delivery_delay.observe(self._clock.now() - self._published_at)
            self._published_at = None
