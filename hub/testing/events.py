"""The event log and the subscriptions in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position, new_epoch
from hub.core.deliveries import Delivery
from hub.core.event import Event
from hub.core.generation import WITHOUT_EVENT, GenerationUpdate
from hub.core.inputs import InputAnswer
from hub.errors import BrokerUnavailable
from hub.ports.events import (
    FROM_START,
    Outcome,
    Page,
    Publication,
    Published,
    publication_digest,
)

ApplyUpdate = Callable[
    [GenerationUpdate, bytes], tuple[Outcome | None, str | None, InputAnswer | None]
]
AddItem = Callable[[Publication, Position | None], tuple[str | None, list[tuple[str, bytes]]]]


def _add_nothing(
    publication: Publication, position: Position | None
) -> tuple[None, list[tuple[str, bytes]]]:
    return None, []


class MemorySubscriptions:
    """Implements ports.events.Subscriptions. Events arrive while they are published."""

    def __init__(self, check_available: Callable[[], None]) -> None:
        self._check_available = check_available
        self._channels: set[Channel] = set()
        self._on_events: Callable[[Sequence[Event]], None] = lambda events: None
        self._on_resubscribed: Callable[[], None] = lambda: None

    async def subscribe(self, channels: Collection[Channel]) -> None:
        self._check_available()
        self._channels.update(channels)

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        self._channels.difference_update(channels)

    def listen(
        self, on_events: Callable[[Sequence[Event]], None], on_resubscribed: Callable[[], None]
    ) -> None:
        self._on_events, self._on_resubscribed = on_events, on_resubscribed

    def restore(self, channels: Collection[Channel]) -> None:
        self.resubscribe()

    async def run(self) -> None:
        await asyncio.Event().wait()

    def notify(self, events: Sequence[Event]) -> None:
        """Deliver the events of the channels that are subscribed to."""
        self._on_events([event for event in events if event.channel in self._channels])

    def resubscribe(self) -> None:
        """Behave like subscriptions that are complete again after a lost connection."""
        self._on_resubscribed()


class _ChannelLog:
    def __init__(self) -> None:
        self.epoch = new_epoch()
        self.offset = 0
        self.entries: list[tuple[Event, float | None]] = []  # the event and its expiry time

    @property
    def head(self) -> Position:
        return Position(self.epoch, self.offset)


class _Key(NamedTuple):
    """An idempotency key: of which event, and until when it is remembered."""

    position: Position | None
    digest: str
    expires: float | None


class MemoryEventLog:
    """Implements ports.events.EventLog.

    Only events with `ttl_seconds` expire, and keys with `idempotency_seconds`.

    max_events: how many events each channel keeps.
    apply_update: applies the update that comes with an event, see MemoryGenerationStore.apply.
    add_item: keeps a publication in an inbox, see MemoryInboxStore.add.
    count_received: returns how much users have sent to the producer of a generation.
    add_delivery: adds a delivery of an event with its position.
    now: the time against which `ttl_seconds` counts, in seconds.
    replicas: the number of replicas that durable publications report; a test may change it.
    """

    replicas: int | None = None

    def __init__(
        self,
        subscriptions: MemorySubscriptions,
        apply_update: ApplyUpdate,
        check_available: Callable[[], None],
        *,
        max_events: int,
        count_received: Callable[[str], int] = lambda generation: 0,
        add_delivery: Callable[[Delivery, Position | None], None] = lambda delivery, at: None,
        add_item: AddItem = _add_nothing,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._add_item = add_item
        self._subscriptions = subscriptions
        self._apply_update = apply_update
        self._count_received = count_received
        self._add_delivery = add_delivery
        self._check_available = check_available
        self._max_events = max_events
        self._now = now
        self._logs: dict[Channel, _ChannelLog] = {}
        self._by_key: dict[tuple[Channel, str], _Key] = {}

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        self._check_available()
        written: list[Event] = []
        published = [self._publish(publication, written) for publication in publications]
        self._subscriptions.notify(written)
        return published

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        try:
            return list(await self.publish(publications))
        except BrokerUnavailable as error:
            return [error] * len(publications)

    async def erase(self, channel: Channel) -> None:
        self._check_available()
        self._logs.pop(channel, None)
        self._subscriptions.notify([Event(channel, "", b"", self.head_of(channel))])

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> dict[Channel, Page]:
        self._check_available()
        return {
            channel: self._page(self._log(channel), position, max_events, max_bytes)
            for channel, position in after.items()
        }

    async def heads(self, channels: Sequence[Channel]) -> dict[Channel, Position | None]:
        self._check_available()
        heads = {c: self._logs[c].head if c in self._logs else None for c in channels}
        return {c: head if head is not None and head.offset else None for c, head in heads.items()}

    def append(self, publication: Publication) -> None:
        """Publish an event that the store of generations has."""
        written: list[Event] = []
        self._publish(publication, written)
        self._subscriptions.notify(written)

    def head_of(self, channel: Channel) -> Position:
        """Return the position of the channel's newest event."""
        return self._log(channel).head

    def forget_events(self, channel: Channel) -> None:
        """Drop the events of a channel, as trimming does; its head stays."""
        self._log(channel).entries.clear()

    def begin_new_epoch(self, channel: Channel) -> None:
        """Forget a channel, as a server that lost its data does."""
        self._logs.pop(channel, None)

    def _log(self, channel: Channel) -> _ChannelLog:
        return self._logs.setdefault(channel, _ChannelLog())

    def _page(
        self, log: _ChannelLog, after: Position | None, max_events: int, max_bytes: int
    ) -> Page:
        head = log.head
        if after is None or after == head:
            return Page(events=(), head=head, end=head)
        if after != FROM_START:
            if after.epoch != head.epoch or after.offset > head.offset:
                return Page(events=(), head=head, end=head, reset_reason="epoch")
            if not log.entries or _offset(log.entries[0][0]) > after.offset + 1:
                return Page(events=(), head=head, end=head, reset_reason="trimmed")
        page = []
        for entry in log.entries:
            if _offset(entry[0]) <= after.offset:
                continue
            page.append(entry)
            max_bytes -= len(entry[0].data)
            if len(page) == max_events or max_bytes <= 0:
                break
        if not page:
            return Page(events=(), head=head, end=head)
        now = self._now()
        return Page(
            events=[event for event, expires in page if expires is None or expires > now],
            head=head,
            end=Position(log.epoch, _offset(page[-1][0])),
        )

    def _publish(self, publication: Publication, written: list[Event]) -> Published:
        key = (publication.channel, publication.idempotency_key or "")
        digest = publication_digest(publication)
        earlier = self._by_key.get(key) if publication.idempotency_key else None
        if earlier is not None and (earlier.expires is None or earlier.expires > self._now()):
            if digest != earlier.digest:
                return Published(Outcome.CONFLICT, None)
            replicas = self._replicas_of(publication)
            return Published(Outcome.DUPLICATE, earlier.position, None, replicas)
        stop_requested_by, answer, received = None, None, 0
        if publication.update is not None:
            refusal, stop_requested_by, answer = self._apply_update(
                publication.update, publication.data
            )
            if refusal is not None:
                return Published(refusal, None, stop_requested_by)
            if publication.update.external is not None:
                received = self._count_received(publication.update.generation)
            if publication.update.kind in WITHOUT_EVENT:
                return Published(Outcome.WRITTEN, None, stop_requested_by, received=received)
        position = None
        log = self._log(publication.channel)
        if not publication.ephemeral:
            log.offset += 1
            position = log.head
        event = Event(publication.channel, publication.name, publication.data, position)
        if position is not None:
            ttl = publication.ttl_seconds
            log.entries.append((event, None if ttl is None else self._now() + ttl))
            del log.entries[: -self._max_events]
        if publication.idempotency_key:
            kept = publication.idempotency_seconds
            expires = None if kept is None else self._now() + kept
            self._by_key[key] = _Key(position, digest, expires)
        written.append(msgspec.structs.replace(event, trace=publication.trace))
        for delivery in publication.deliveries:
            self._add_delivery(delivery, position)
        more = [] if answer is None else [(answer.event, answer.data)]
        item = None
        if publication.inbox is not None:
            item, events = self._add_item(publication, position)
            more += events if publication.channel.startswith("user:") else []
        for name, data in more:
            log.offset += 1
            event = Event(publication.channel, name, data, log.head)
            log.entries.append((event, None))
            written.append(event)
        replicas = self._replicas_of(publication)
        return Published(Outcome.WRITTEN, position, stop_requested_by, replicas, received, item)

    def _replicas_of(self, publication: Publication) -> int | None:
        return self.replicas if publication.durable and not publication.ephemeral else None


def _offset(event: Event) -> int:
    assert event.position is not None
    return event.position.offset
