"""When connections must end by themselves: their token expires, or they are as old as may be.

One timer for all. Seconds are the unit: a connection ends at most one second late, never early.
"""

from __future__ import annotations

import math

import msgspec

from hub.core.close_reason import CloseReason
from hub.engine.connection import Connection
from hub.ports.clock import Clock


class ConnectionExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """until: when the connection ends (the clock's seconds), and why. notice_at: when it is
    told.
    """

    until: float
    reason: CloseReason
    notice_at: float | None = None


class ExpiryTimer:
    """Ends connections at their time, and tells those whose token expires a little ahead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_second: dict[int, dict[Connection, ConnectionExpiry]] = {}
        self._second_of: dict[Connection, int] = {}
        self._next = math.ceil(clock.now())

    def add(self, connection: Connection, expiry: ConnectionExpiry) -> None:
        """The connection lives so long."""
        at = expiry.until if expiry.notice_at is None else expiry.notice_at
        second = max(self._next, math.ceil(at))
        self._by_second.setdefault(second, {})[connection] = expiry
        self._second_of[connection] = second

    def remove(self, connection: Connection) -> None:
        """It has ended; removing twice changes nothing."""
        second = self._second_of.pop(connection, None)
        if second is not None:
            due = self._by_second[second]
            del due[connection]
            if not due:
                del self._by_second[second]

    async def run(self) -> None:
        """Keeps time until cancelled."""
        while True:
            await self._clock.sleep(max(0.0, self._next - self._clock.now()))
            while self._next <= self._clock.now():
                self.tick()

    def tick(self) -> None:
        """One second is over."""
        due = self._by_second.get(self._next, {})
        self._next += 1
        for connection, lifetime in tuple(due.items()):
            self.remove(connection)
            if lifetime.notice_at is None:
                connection.close(lifetime.reason)
            else:
                left = max(0, round(lifetime.until - self._clock.now()))
                connection.send_event(
                    "hub.expiring", {"reason": lifetime.reason.label, "seconds": left}
                )
                if connection.close_reason is not None:
                    continue  # as too slow even for this
                self.add(connection, msgspec.structs.replace(lifetime, notice_at=None))
