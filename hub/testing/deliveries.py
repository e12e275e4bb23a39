"""The stored deliveries in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from hub.core.channel import Channel, partition_of
from hub.core.cursor import Position
from hub.core.deliveries import (
    Dead,
    Delivery,
    DeliveryLimits,
    Done,
    Postponed,
    Retry,
    Settlement,
    error_line,
    partition_of_delivery,
)
from hub.ports.deliveries import Completed, DeliveryCounts, StoredDelivery, TakenDelivery

_ROOMY = DeliveryLimits(
    max_per_lane=1000, max_bytes=10**8, ttl_seconds=1e9, max_dead=1000, dead_seconds=1e9
)
_Lane = tuple[str, Channel, str]


class _Item:
    def __init__(self, delivery: Delivery, position: Position | None, now: float) -> None:
        self.delivery = delivery
        self.position = position
        self.added_at = now
        self.due_at = now + delivery.delay_seconds
        self.takes = 0
        self.failures = 0
        self.errors: list[str] = []
        self.died_at: float | None = None

    @property
    def lane(self) -> _Lane:
        return self.delivery.queue, self.delivery.channel, self.delivery.lane


class MemoryDeliveryStore:
    """Implements ports.deliveries.DeliveryStore. Nothing expires but leases.

    limits: None means so much room that no test reaches a limit. now: Unix time in seconds.
    """

    def __init__(
        self,
        limits: DeliveryLimits | None = None,
        *,
        check_available: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits or _ROOMY
        self._check_available = check_available
        self._now = now
        self._items: dict[tuple[str, str], _Item] = {}  # by queue and id, oldest first
        self._lanes: dict[_Lane, list[_Item]] = {}
        self._lease_ends: dict[_Lane, float] = {}
        self._dropped: dict[str, int] = {}

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        self._check_available()
        for delivery in deliveries:
            self.append(delivery, None)

    def append(self, delivery: Delivery, position: Position | None) -> None:
        """Add a delivery to the end of its lane."""
        queue, partition = delivery.queue, partition_of(delivery.channel)
        if partition_of_delivery(delivery.id) != partition:
            raise ValueError(f"the id is not one of the channel: {delivery.id!r}")
        if (queue, delivery.id) in self._items:
            return
        if not self._make_room(queue, partition, len(delivery.body)):
            self._dropped[queue] = self._dropped.get(queue, 0) + 1
            return
        item = _Item(delivery, position, self._now())
        self._items[queue, delivery.id] = item
        lane = self._lanes.setdefault(item.lane, [])
        if len(lane) >= self._limits.max_per_lane:
            self._add_error(item, "too many deliveries wait in the lane")
            self._bury(item)
        else:
            lane.append(item)

    async def take(self, queue: str, limit: int, *, lease_seconds: float) -> list[TakenDelivery]:
        self._check_available()
        now = self._now()
        taken: list[TakenDelivery] = []
        due = [
            (self._lease_ends.get(key, lane[0].due_at), key)
            for key, lane in self._lanes.items()
            if key[0] == queue and lane
        ]
        for due_at, key in sorted(due):
            if due_at > now or len(taken) == limit:
                break
            item = self._lanes[key][0]
            item.takes += 1
            self._lease_ends[key] = now + lease_seconds
            taken.append(
                TakenDelivery(
                    queue=queue,
                    channel=item.delivery.channel,
                    lane=item.delivery.lane,
                    id=item.delivery.id,
                    body=item.delivery.body,
                    token=item.takes,
                    failures=item.failures,
                    age_seconds=now - item.added_at,
                    position=item.position,
                )
            )
        return taken

    async def complete(self, taken: TakenDelivery, settlement: Settlement) -> Completed:
        self._check_available()
        item = self._items.get((taken.queue, taken.id))
        if item is None or item.died_at is not None or item.takes != taken.token:
            return Completed(is_recorded=False, is_next_due=False)
        item.takes += 1
        self._lease_ends.pop(item.lane, None)
        lane = self._lanes[item.lane]
        match settlement:
            case Done():
                lane.remove(item)
                del self._items[taken.queue, taken.id]
            case Retry(delay_seconds, error):
                self._add_error(item, error)
                item.failures += 1
                item.due_at = self._now() + delay_seconds
            case Postponed(delay_seconds):
                item.due_at = self._now() + delay_seconds
            case Dead(error):
                self._add_error(item, error)
                item.failures += 1
                lane.remove(item)
                self._bury(item)
        is_next_due = bool(lane) and lane[0].due_at <= self._now()
        return Completed(is_recorded=True, is_next_due=is_next_due)

    async def cancel(self, queue: str, delivery: str) -> bool:
        self._check_available()
        item = self._items.get((queue, delivery))
        if item is None or item.died_at is not None:
            return False
        lane = self._lanes[item.lane]
        if lane[0] is item:
            self._lease_ends.pop(item.lane, None)
        lane.remove(item)
        del self._items[queue, delivery]
        return True

    async def find(self, queue: str, delivery: str) -> StoredDelivery | None:
        self._check_available()
        item = self._items.get((queue, delivery))
        return None if item is None else _stored(item)

    async def list_dead(self, queue: str, limit: int) -> list[StoredDelivery]:
        self._check_available()
        dead = [item for item in self._of(queue) if item.died_at is not None]
        dead.sort(key=lambda item: -(item.died_at or 0.0))
        return [_stored(item) for item in dead[:limit]]

    async def list_waiting(self, queue: str, limit: int) -> list[StoredDelivery]:
        self._check_available()
        heads = [lane[0] for key, lane in self._lanes.items() if key[0] == queue and lane]
        heads.sort(key=lambda item: self._lease_ends.get(item.lane, item.due_at))
        return [_stored(item) for item in heads[:limit]]

    async def replay(self, queue: str, delivery: str) -> bool:
        self._check_available()
        item = self._items.get((queue, delivery))
        if item is None or item.died_at is None:
            return False
        item.died_at, item.failures = None, 0
        item.added_at = item.due_at = self._now()
        self._lanes.setdefault(item.lane, []).append(item)
        return True

    async def discard(self, queue: str, delivery: str) -> bool:
        self._check_available()
        item = self._items.get((queue, delivery))
        if item is None or item.died_at is None:
            return False
        del self._items[queue, delivery]
        return True

    async def list_ids(self, queue: str, channel: Channel) -> list[str]:
        self._check_available()
        own = [item for item in self._of(queue) if item.delivery.channel == channel]
        own.sort(key=lambda item: item.died_at is not None)
        return [item.delivery.id for item in own]

    async def erase(self, queue: str, channel: Channel, *, dead_only: bool = False) -> int:
        self._check_available()
        erased = [
            item
            for item in self._of(queue)
            if item.delivery.channel == channel and (item.died_at is not None or not dead_only)
        ]
        for item in erased:
            if item.died_at is not None:
                del self._items[queue, item.delivery.id]
            else:
                await self.cancel(queue, item.delivery.id)
        return len(erased)

    async def counts(self, queue: str) -> DeliveryCounts:
        self._check_available()
        items = self._of(queue)
        dead = sum(item.died_at is not None for item in items)
        return DeliveryCounts(
            lanes=sum(bool(lane) for key, lane in self._lanes.items() if key[0] == queue),
            waiting=len(items) - dead,
            dead=dead,
            bytes=sum(len(item.delivery.body) for item in items),
            dropped=self._dropped.get(queue, 0),
        )

    def expire_leases(self) -> None:
        """End every lease, as its time would."""
        self._lease_ends.clear()

    def _of(self, queue: str, partition: int | None = None) -> list[_Item]:
        return [
            item
            for (each, _), item in self._items.items()
            if each == queue
            and (partition is None or partition_of(item.delivery.channel) == partition)
        ]

    def _add_error(self, item: _Item, error: str) -> None:
        item.errors.append(f"{int(self._now())} {error_line(error)}")

    def _make_room(self, queue: str, partition: int, size: int) -> bool:
        """Drop the oldest dead letters for a body, if that makes room for it."""
        items = self._of(queue, partition)
        missing = sum(len(each.delivery.body) for each in items) + size - self._limits.max_bytes
        dead = [each for each in items if each.died_at is not None]
        dead.sort(key=lambda each: each.died_at or 0.0)
        dropped: list[_Item] = []
        while missing > 0 and dead:
            dropped.append(dead.pop(0))
            missing -= len(dropped[-1].delivery.body)
        if missing > 0:
            return False
        for each in dropped:
            del self._items[queue, each.delivery.id]
        self._dropped[queue] = self._dropped.get(queue, 0) + len(dropped)
        return True

    def _bury(self, item: _Item) -> None:
        item.died_at = self._now()
        queue = item.delivery.queue
        partition = partition_of(item.delivery.channel)
        dead = [each for each in self._of(queue, partition) if each.died_at is not None]
        if len(dead) > self._limits.max_dead:
            oldest = min(dead, key=lambda each: each.died_at or 0.0)
            del self._items[queue, oldest.delivery.id]
            self._dropped[queue] = self._dropped.get(queue, 0) + 1


def _stored(item: _Item) -> StoredDelivery:
    delivery = item.delivery
    return StoredDelivery(
        queue=delivery.queue,
        channel=delivery.channel,
        lane=delivery.lane,
        id=delivery.id,
        body=delivery.body,
        state="waiting" if item.died_at is None else "dead",
        added_at=item.added_at,
        failures=item.failures,
        errors=tuple(item.errors),
    )
