"""What the suites share: how a backend is opened, and a node that receives its events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from hub.core.channel import Channel, user_channel
from hub.core.cursor import Position
from hub.core.deliveries import DeliveryLimits
from hub.core.event import Event
from hub.core.fair_queue import QueueLimits
from hub.ports.backend import Backend
from hub.ports.events import Outcome, Page, Publication

ALICE: Final[Channel] = user_channel("alice")


class BackendOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a suite needs of the backend.

    max_events: about how many events the log of a user's channel keeps.
    inbox_max_items: how many items each inbox keeps.
    queue_limits: how many jobs may run and wait.
    delivery_limits: how much of each queue of deliveries is stored.
    lease_seconds: how long a reserved job belongs to its worker without a renewal.
    max_push_subscriptions: how many push subscriptions a user has. push_ttl_seconds: how long one
        is kept.
    """

    max_events: int = 1000
    inbox_max_items: int = 200
    queue_limits: QueueLimits = QueueLimits(
        max_user_running=1000, max_user_queued=1000, upstreams={}
    )
    delivery_limits: DeliveryLimits = DeliveryLimits(
        max_per_lane=100, max_bytes=10**6, ttl_seconds=3600.0, max_dead=100, dead_seconds=3600.0
    )
    lease_seconds: float = 60.0
    max_push_subscriptions: int = 20
    push_ttl_seconds: float = 3600.0


OpenBackend = Callable[[BackendOptions], Awaitable[Backend]]
"""The fixture `open_backend`: returns a backend with every `run` of its parts running.

Each call in one test returns the backend of another process on the same store, which is empty when
the test begins. The fixture closes what it opened.
"""


class Node:
    """A backend, and the events that it received. listens: whether it takes them."""

    def __init__(self, backend: Backend, *, listens: bool = True) -> None:
        self.backend = backend
        self.received: asyncio.Queue[Event] = asyncio.Queue()
        if listens:
            backend.subscriptions.listen(self._on_events, lambda: None)

    async def publish(self, data: str = "1", **more: Any) -> tuple[Outcome, Position | None]:
        """Publish one event, to alice's channel if no other is given."""
        publication = Publication(**{"channel": ALICE, "name": "n", "data": data.encode(), **more})
        (published,) = await self.backend.events.publish([publication])
        return published.outcome, published.position

    async def next(self) -> Event:
        """Wait for the next event."""
        async with asyncio.timeout(60):
            return await self.received.get()

    async def read(self, after: Position | None, max_events: int = 100) -> list[bytes]:
        """Read the data of the events in alice's channel."""
        return [event.data for event in (await self.page(after, max_events)).events]

    async def page(
        self, after: Position | None, max_events: int = 100, max_bytes: int = 10**6
    ) -> Page:
        """Read one page of alice's channel."""
        pages = await self.backend.events.read(
            {ALICE: after}, max_events=max_events, max_bytes=max_bytes
        )
        return pages[ALICE]

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            self.received.put_nowait(event)
