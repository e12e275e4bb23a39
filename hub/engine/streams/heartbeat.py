"""One timer wheel for all heartbeats: no timer and no task per connection.

A connection waits in the slot of the tick at which it will have been silent for the heartbeat time.
At that tick it gets a heartbeat, or, if it was written to meanwhile, moves to the slot that follows
from that write. So the wheel checks each connection about once in a heartbeat time, whether it is
busy or idle. A connection with a shorter interval of its own is in the same wheel, and waits fewer
ticks.
"""

from __future__ import annotations

import math
from typing import Final

from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connection import Connection
from hub.ports.clock import Clock

_TICKS: Final = 16  # in one heartbeat time; a heartbeat is at most one tick late


class HeartbeatWheel:
    """Sends each connection a heartbeat after `heartbeat_seconds` without a write."""

    def __init__(
        self, clock: Clock, heartbeat_seconds: float, metrics: NodeMetrics | None = None
    ) -> None:
        self._metrics = metrics or NodeMetrics()
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._tick_seconds = heartbeat_seconds / _TICKS
        self._tick_count = 0
        # A ring: the slot of a tick is its number modulo the length.
        self._slots: list[set[Connection]] = [set() for _ in range(_TICKS + 1)]
        self._slot_of: dict[Connection, set[Connection]] = {}

    def add(self, connection: Connection) -> None:
        """Send the connection heartbeats from now on."""
        self._put(connection, self._ticks(self._interval_seconds(connection)))

    def remove(self, connection: Connection) -> None:
        """Send no more heartbeats; a second call does nothing."""
        slot = self._slot_of.pop(connection, None)
        if slot is not None:
            slot.discard(connection)

    async def run(self) -> None:
        """Tick until cancelled. After a stall the missed ticks follow without a pause."""
        due = self._clock.now()
        while True:
            due += self._tick_seconds
            await self._clock.sleep(max(0.0, due - self._clock.now()))
            self._metrics.heartbeat_lateness.observe(max(0.0, self._clock.now() - due))
            self.tick()

    def tick(self) -> None:
        """Check the connections of the next slot."""
        self._tick_count += 1
        index = self._tick_count % len(self._slots)
        due, self._slots[index] = self._slots[index], set()
        now = self._clock.now()
        for connection in due:
            interval_seconds = self._interval_seconds(connection)
            seconds_left = connection.written_at + interval_seconds - now
            if seconds_left < self._tick_seconds / 2:
                connection.send_heartbeat(now)
                seconds_left = interval_seconds
            self._put(connection, self._ticks(seconds_left))

    def _interval_seconds(self, connection: Connection) -> float:
        return connection.heartbeat_seconds or self._heartbeat_seconds

    def _ticks(self, seconds: float) -> int:
        return max(1, min(_TICKS, math.ceil(seconds / self._tick_seconds)))

    def _put(self, connection: Connection, ticks_ahead: int) -> None:
        slot = self._slots[(self._tick_count + ticks_ahead) % len(self._slots)]
        slot.add(connection)
        self._slot_of[connection] = slot
