"""Find gaps that no later event shows: compare the positions of a node with the heads of the logs.

A missing event is noticed when the next event of its channel arrives, or when the subscriptions are
restored. Neither happens when a subscription is attached to a server that has lost its role, or to
a proxy that has lost its server, and the channel then stays quiet; or when the log was deleted.

Rules:
1. Every followed channel is compared once in `_INTERVAL_SECONDS`. While the broker answers, a
   client lacks an event for at most 10 s: an interval, the grace, and the time to read the log. The
   batches are spread over the interval.
2. A channel that is behind may only wait for an announcement that is on its way. It has a gap when
   its position has not reached the head after `_GRACE_SECONDS`.
3. When gaps are found in two rounds within `_SUSPICION_SECONDS`, the subscriptions of the channels
   are restored, because their connection may have lost them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connections import Connections
from hub.engine.tasks import BackgroundTasks
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.events import EventReader, Subscriptions

_INTERVAL_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_SUSPICION_SECONDS: Final = 60.0
_CHANNELS_PER_BATCH: Final = 1000  # about 3 ms of the event loop
_log = structlog.get_logger(__name__)


class GapCheck:
    """Compares all followed channels of a node with their logs, until cancelled."""

    def __init__(
        self,
        events: EventReader,
        subscriptions: Subscriptions,
        connections: Connections,
        clock: Clock,
        metrics: NodeMetrics,
    ) -> None:
        self._events = events
        self._subscriptions = subscriptions
        self._connections = connections
        self._clock = clock
        self._metrics = metrics
        self._background_tasks = BackgroundTasks()
        self._checked_at = clock.now()  # everything that was published before it was delivered
        self._round = 0
        self._last_gap_round = 0
        self._last_gap_at = float("-inf")
        metrics.gap_check_age.set_function(lambda: clock.now() - self._checked_at)

    async def run(self) -> None:
        """Compare all channels once in each interval, until cancelled."""
        while True:
            started_at = self._clock.now()
            self._round += 1
            try:
                await self._check_all(started_at)
            except BrokerUnavailable as error:
                _log.debug("gap_check.waits", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                self._checked_at = started_at
                await self._sleep_until(started_at + _INTERVAL_SECONDS)

    async def _check_all(self, started_at: float) -> None:
        channels = self._connections.followed_channels()
        batches = [
            channels[first : first + _CHANNELS_PER_BATCH]
            for first in range(0, len(channels), _CHANNELS_PER_BATCH)
        ]
        for n, batch in enumerate(batches):
            await self._sleep_until(started_at + n * _INTERVAL_SECONDS / len(batches))
            await self._check(batch)

    async def _check(self, channels: Sequence[Channel]) -> None:
        heads = await self._events.heads(channels)
        behind = {
            channel: head
            for channel, head in heads.items()
            if self._connections.is_behind(channel, head)
        }
        if behind:
            self._background_tasks.run("gap check", self._fill(behind))

    async def _fill(self, heads: Mapping[Channel, Position | None]) -> None:
        """Fill the gaps of those channels that are still behind after the grace."""
        checked_in = self._round
        await self._clock.sleep(_GRACE_SECONDS)
        gaps = [
            channel for channel, head in heads.items() if self._connections.fill_gap(channel, head)
        ]
        if not gaps:
            return
        self._metrics.gaps_found.add(len(gaps))
        now = self._clock.now()
        is_suspicious = (
            self._last_gap_round != checked_in and now - self._last_gap_at < _SUSPICION_SECONDS
        )
        self._last_gap_round, self._last_gap_at = checked_in, now
        _log.warning("gap_check.found", channels=len(gaps), resubscribes=is_suspicious)
        if is_suspicious:
            self._last_gap_at = float("-inf")
            self._subscriptions.restore(gaps)

    async def _sleep_until(self, time: float) -> None:
        await self._clock.sleep(max(0.0, time - self._clock.now()))
