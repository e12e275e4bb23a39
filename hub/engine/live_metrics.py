"""What nodes and workers report of themselves, live, while somebody looks.

Who looks says so to all every few seconds; who hears it publishes its numbers every second into a
channel that no client's name can reach. When nobody looks, nothing is said.
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


class _WatchRequest(msgspec.Struct, frozen=True, tag="look"):
    """Somebody looks."""


class LiveMetrics:
    """One process' part. name: of the node or worker. say: its numbers, as JSON can have them.
    looked_at: whether somebody here follows REPORTS.
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
        self._until = clock.now()
        bus.listen(self._on_message, lambda: None)

    async def run(self) -> None:
        """Until cancelled. Raises BrokerUnavailable."""
        look_again_at = self._clock.now()
        while True:
            now = self._clock.now()
            if now >= look_again_at and self._has_viewers():
                look_again_at = now + _WATCH_INTERVAL_SECONDS
                await self._bus.broadcast(msgspec.json.encode(_WatchRequest()))
            if now < self._until:
                said = {"from": self._name, "at": round(time.time(), 3), "metrics": self._collect()}
                report = Publication(
                    channel=LIVE_METRICS_CHANNEL,
                    name="hub.report",
                    data=encode_json(said),
                    ephemeral=True,
                )
                await self._events.publish([report])
            await self._clock.sleep(_INTERVAL_SECONDS)

    def _on_message(self, said: bytes) -> None:
        try:
            msgspec.json.decode(said, type=_WatchRequest)
        except msgspec.DecodeError:
            return  # not for us
        self._until = self._clock.now() + _WATCH_TTL_SECONDS
