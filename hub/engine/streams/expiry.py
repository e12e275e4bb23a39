"""The time at which a connection must end: its token expires, or it reaches the maximum age.

One timer serves all connections. Its resolution is one second: a connection ends at most one second
late, never early. A long poll also waits until its position is known: the events that are published
before the next poll would be lost without a cursor.
"""

from __future__ import annotations

import math

import msgspec

from hub.core.close_reason import CloseReason
from hub.engine.streams.connection import Connection
from hub.ports.clock import Clock


class ConnectionExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When and why a connection ends; times are the clock's seconds.

    notice_at: when the client gets `hub.expiring`; None for no notice.
    """

    until: float
    reason: CloseReason
    notice_at: float | None = None


class ExpiryTimer:
    """Closes connections at their time, and sends `hub.expiring` before that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The connections that are due in each second: for their notice or for their end.
        self._by_second: dict[int, dict[Connection, ConnectionExpiry]] = {}
        self._second_of: dict[Connection, int] = {}
        self._next = math.ceil(clock.now())  # the second that `tick` handles next

    def add(self, connection: Connection, expiry: ConnectionExpiry) -> None:
        """Schedule the end of a connection, and its notice."""
        at = expiry.until if expiry.notice_at is None else expiry.notice_at
        second = max(self._next, math.ceil(at))
        self._by_second.setdefault(second, {})[connection] = expiry
        self._second_of[connection] = second

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended; a second call does nothing."""
        second = self._second_of.pop(connection, None)
        if second is not None:
            due = self._by_second[second]
            del due[connection]
            if not due:
                del self._by_second[second]

    async def run(self) -> None:
        """Call `tick` once for each second, until cancelled."""
        while True:
            await self._clock.sleep(max(0.0, self._next - self._clock.now()))
            while self._next <= self._clock.now():
                self.tick()

    def tick(self) -> None:
        """Handle the connections that are due in the next second."""
        due = self._by_second.get(self._next, {})
        self._next += 1
        for connection, expiry in tuple(due.items()):
            self.remove(connection)
            if expiry.reason is CloseReason.POLLED and not connection.positions:
                self.add(connection, expiry)  # its response needs a cursor: try a second later
            elif expiry.notice_at is None:
                connection.close(expiry.reason)
            else:
                seconds_left = max(0, round(expiry.until - self._clock.now()))
                connection.send_event(
                    "hub.expiring", {"reason": expiry.reason.label, "seconds": seconds_left}
                )
                if connection.close_reason is not None:
                    continue  # the notice did not fit into its outbox: it was closed as slow
                self.add(connection, msgspec.structs.replace(expiry, notice_at=None))
