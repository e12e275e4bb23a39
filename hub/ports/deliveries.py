"""The stored deliveries of webhooks and Web Push (core/deliveries.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.deliveries import Delivery, Settlement


class TakenDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that this process may send until its lease ends.

    token: identifies the lease. failures: how many attempts failed. age_seconds: the time since the
    delivery was added, or replayed. position: that of the event with which it was published.
    """

    queue: str
    channel: Channel
    lane: str
    id: str
    body: bytes
    token: int
    failures: int
    age_seconds: float
    position: Position | None = None


class StoredDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery, as operators see it.

    state: `waiting`, also while it is being sent, or `dead`. added_at: in Unix seconds. failures:
    the number of failed attempts. errors: the newest of them, each as `<Unix time> <error>`, oldest
    first.
    """

    queue: str
    channel: Channel
    lane: str
    id: str
    body: bytes
    state: str
    added_at: float
    failures: int
    errors: Sequence[str]


class Completed(NamedTuple):
    """The result of `complete`.

    is_recorded: whether the lease was still held. Otherwise nothing changed: the delivery was taken
    again, or it is not there any more. is_next_due: whether another delivery of the lane is due.
    """

    is_recorded: bool
    is_next_due: bool


class DeliveryCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a queue.

    lanes: lanes in which deliveries wait. waiting: deliveries that wait or are being sent.
    dead: dead letters. bytes: bodies of both. dropped: how many were dropped in all since there was
    no room for them; the number may begin anew when nothing is stored.
    """

    lanes: int = 0
    waiting: int = 0
    dead: int = 0
    bytes: int = 0
    dropped: int = 0


class DeliveryStore(Protocol):
    """The deliveries of all queues. Every method raises BrokerUnavailable.

    A publication writes its deliveries itself (ports.events.Publication). Times are those of the
    backend's clock. When another server, whose clock may be another one, has the deliveries, all of
    them are due at once, and every lease has ended.
    """

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries to the ends of their lanes. One whose id is stored is not added again."""
        ...

    async def take(
        self, queue: str, limit: int, *, lease_seconds: float
    ) -> Sequence[TakenDelivery]:
        """Return at most `limit` deliveries that are due and first in their lanes.

        Nobody else gets anything of these lanes until the delivery is completed or its lease ends.
        """
        ...

    async def complete(self, taken: TakenDelivery, settlement: Settlement) -> Completed:
        """Record what became of a delivery."""
        ...

    async def cancel(self, queue: str, delivery: str) -> bool:
        """Remove a delivery that waits, and return whether there was one.

        One that is being sent may arrive all the same.
        """
        ...

    async def find(self, queue: str, delivery: str) -> StoredDelivery | None:
        """Return a delivery; None when there is none with this id."""
        ...

    async def list_dead(self, queue: str, limit: int) -> Sequence[StoredDelivery]:
        """Return at most `limit` dead letters, newest first."""
        ...

    async def list_waiting(self, queue: str, limit: int) -> Sequence[StoredDelivery]:
        """Return at most `limit` deliveries, the first one of each lane, in the order in which they
        are due.
        """
        ...

    async def replay(self, queue: str, delivery: str) -> bool:
        """Add a dead letter to the end of its lane again, as if it was new, and due now.

        Return whether there was one.
        """
        ...

    async def discard(self, queue: str, delivery: str) -> bool:
        """Delete a dead letter, and return whether there was one."""
        ...

    async def list_ids(self, queue: str, channel: Channel) -> list[str]:
        """Return the ids of the deliveries of a channel: those that wait, then the dead letters."""
        ...

    async def erase(self, queue: str, channel: Channel, *, dead_only: bool = False) -> int:
        """Delete all deliveries of a channel, or its dead letters only, and return their number."""
        ...

    async def counts(self, queue: str) -> DeliveryCounts:
        """Return what is stored of a queue. The parts of the sum are read one after the other."""
        ...
