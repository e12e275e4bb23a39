"""One wheel for all heartbeats: no timer and no task per connection.

A connection waits in the slot of the tick at which it would have been silent for long enough. When
that tick comes it gets a heartbeat, or, written to meanwhile, moves on to the slot that follows
from that write. So a connection is looked at about once in a heartbeat time, busy or idle.
"""

from __future__ import annotations

import math
from typing import Final

from hub.engine.connection import Connection
from hub.engine.node_metrics import NodeMetrics
from hub.ports.clock import Clock

_TICKS: Final = 16  # of one heartbeat time; a heartbeat is at most one tick late


class HeartbeatWheel:
    """Sends each connection a heartbeat after `heartbeat_seconds` without a byte."""

    def __init__(
        self, clock: Clock, heartbeat_seconds: float, counts: NodeMetrics | None = None
    ) -> None:
        self._counts = counts or NodeMetrics()
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._tick_seconds = heartbeat_seconds / _TICKS
        self._turn = 0
        self._slots: list[set[Connection]] = [set() for _ in range(_TICKS + 1)]
        self._slot_of: dict[Connection, set[Connection]] = {}

    def add(self, connection: Connection) -> None:
        """The connection is to be kept awake from now on."""
        self._put(connection, _TICKS)

    def remove(self, connection: Connection) -> None:
        """No more; removing twice changes nothing."""
        slot = self._slot_of.pop(connection, None)
        if slot is not None:
            slot.discard(connection)

    async def run(self) -> None:
        """Turns until cancelled. After a stall it catches up without a pause."""
        due = self._clock.now()
        while True:
            due += self._tick_seconds
            await self._clock.sleep(max(0.0, due - self._clock.now()))
            self._counts.heartbeat_lateness.observe(max(0.0, self._clock.now() - due))
            self.tick()

    def tick(self) -> None:
        """One step: looks at the connections whose time has come."""
        self._turn += 1
        index = self._turn % len(self._slots)
        looked_at, self._slots[index] = self._slots[index], set()
        now = self._clock.now()
        for connection in looked_at:
            left = connection.written_at + self._heartbeat_seconds - now
            if left < self._tick_seconds / 2:
                connection.send_heartbeat(now)
                self._put(connection, _TICKS)
            else:
                self._put(connection, min(_TICKS, math.ceil(left / self._tick_seconds)))

    def _put(self, connection: Connection, ticks_ahead: int) -> None:
        slot = self._slots[(self._turn + ticks_ahead) % len(self._slots)]
        slot.add(connection)
        self._slot_of[connection] = slot
