"""Live metrics of nodes and workers, published while a console is open.

A node with an open console asks all processes every few seconds to publish their metrics. They do
so every second, in a channel that no client can name. Without a console nothing is published.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from hub.core.channel import Channel
from hub.core.event import encode_json
from hub.ports.clock import Clock
from hub.ports.commands import CommandBus
from hub.ports.events import EventWriter, Publication

LIVE_METRICS_CHANNEL: Final = Channel("hub:reports")
_INTERVAL_SECONDS: Final = 1.0
_WATCH_INTERVAL_SECONDS: Final = 3.0
_WATCH_TTL_SECONDS: Final = 8.0


class _WatchRequest(msgspec.Struct, frozen=True, tag="watch"):
    """A console is open: publish metrics for the next seconds."""


class LiveMetrics:
    """Publishes the metrics of this process, and requests those of the others.

    name: the name of the node or worker. collect: returns its metrics as JSON values.
    has_viewers: whether a console is connected to this process.
    """

    def __init__(
        self,
        bus: CommandBus,
        events: EventWriter,
        clock: Clock,
        *,
        name: str,
        collect: Callable[[], Any],
        has_viewers: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bus = bus
        self._events = events
        self._clock = clock
        self._name = name
        self._collect = collect
        self._has_viewers = has_viewers
        self._publish_until = clock.now()
        bus.listen(self._on_message, lambda: None)

    async def run(self) -> None:
        """Request and publish metrics, until cancelled. Raise BrokerUnavailable."""
        request_at = self._clock.now()
        while True:
            now = self._clock.now()
            if now >= request_at and self._has_viewers():
                request_at = now + _WATCH_INTERVAL_SECONDS
                await self._bus.broadcast(msgspec.json.encode(_WatchRequest()))
            if now < self._publish_until:
                data = {"from": self._name, "at": round(time.time(), 3), "metrics": self._collect()}
                report = Publication(
                    channel=LIVE_METRICS_CHANNEL,
                    name="hub.report",
                    data=encode_json(data),
                    ephemeral=True,
                )
                await self._events.publish([report])
            await self._clock.sleep(_INTERVAL_SECONDS)

    def _on_message(self, text: bytes) -> None:
        try:
            msgspec.json.decode(text, type=_WatchRequest)
        except msgspec.DecodeError:
            return  # another kind of command
        self._publish_until = self._clock.now() + _WATCH_TTL_SECONDS
