"""The broker in memory, for one process: a double for tests that passes the same contract suite.

It keeps the events and the generations' records of one "Redis" in plain dicts. Nothing expires
but single events (`ttl_seconds`). `away` makes it refuse everything, as a broker that is down does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from hub.core.channel import Channel, user_channel
from hub.core.cursor import Position, new_epoch
from hub.core.event import Event
from hub.core.generation import (
    Generation,
    GenerationUpdate,
    Refusal,
    Status,
    StopResult,
    apply_update,
)
from hub.errors import BrokerUnavailable
from hub.ports.events import FROM_START, Outcome, Page, Publication, Published
from hub.ports.generations import CreatedGeneration


class _Log:
    def __init__(self) -> None:
        self.epoch = new_epoch()
        self.offset = 0
        self.entries: list[tuple[Event, float | None]] = []  # event, when it expires

    @property
    def head(self) -> Position:
        return Position(self.epoch, self.offset)


class MemoryBroker:
    """Implements ports.Broker and ports.GenerationStore."""

    def __init__(self, *, max_events: int = 1000, now: Callable[[], float] = time.time) -> None:
        self.is_unavailable = False
        self._max_events = max_events
        self._now = now
        self._logs: dict[Channel, _Log] = {}
        self._once: dict[tuple[Channel, str], Position | None] = {}
        self._asked: dict[tuple[str, str], CreatedGeneration] = {}
        self._generations: dict[str, Generation] = {}
        self._chats: dict[tuple[str, str], list[str]] = {}
        self._wanted: set[Channel] = set()
        self._on_events: Callable[[Sequence[Event]], None] = lambda events: None
        self._just_written: list[Event] = []
        self._on_resubscribed: Callable[[], None] = lambda: None

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        self._check_available()
        published = [self._publish(publication) for publication in publications]
        events, self._just_written = self._just_written, []
        self._on_events([event for event in events if event.channel in self._wanted])
        return published

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        try:
            return list(await self.publish(publications))
        except BrokerUnavailable as error:
            return [error] * len(publications)

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> dict[Channel, Page]:
        self._check_available()
        return {
            channel: self._page(self._log(channel), position, max_events, max_bytes)
            for channel, position in after.items()
        }

    def _page(self, log: _Log, after: Position | None, max_events: int, max_bytes: int) -> Page:
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

    async def subscribe(self, channels: Collection[Channel]) -> None:
        self._check_available()
        self._wanted.update(channels)

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        self._wanted.difference_update(channels)

    def listen(
        self, heard: Callable[[Sequence[Event]], None], relinked: Callable[[], None]
    ) -> None:
        self._on_events, self._on_resubscribed = heard, relinked

    async def ping(self) -> None:
        self._check_available()

    async def create(
        self, generation: Generation, idempotency_key: str | None
    ) -> CreatedGeneration:
        self._check_available()
        asked = (generation.user, idempotency_key or "")
        if idempotency_key and asked in self._asked:
            return msgspec.structs.replace(self._asked[asked], new=False)
        head = self._log(user_channel(generation.user)).head
        created = CreatedGeneration(generation.id, head, new=True)
        self._generations[generation.id] = msgspec.structs.replace(generation, after=head)
        if generation.request.chat is not None:
            chat = generation.user, generation.request.chat
            self._chats.setdefault(chat, []).append(generation.id)
        if idempotency_key:
            self._asked[asked] = created
        return created

    async def find(self, generation: str) -> Generation | None:
        self._check_available()
        return self._generations.get(generation)

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        found = await self.find(generation.id)
        return (found, self._log(user_channel(found.user)).head) if found else None

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        self._check_available()
        return next(reversed(self._chats.get((user, chat), [])), None)

    async def discard(
        self, generation: str, user: str, idempotency_key: str | None, chat: str | None
    ) -> None:
        self._check_available()
        newest = self._chats.get((user, chat or ""), [])
        if generation in newest:
            newest.remove(generation)
        self._generations.pop(generation, None)
        self._asked.pop((user, idempotency_key or ""), None)

    async def stop_requested_by(self, generation: str) -> str | None:
        found = await self.find(generation)
        return found.stop_requested_by if found else None

    async def request_stop(self, generation: str, by: str) -> StopResult | None:
        self._check_available()
        found = self._generations.get(generation)
        if found is None:
            return None
        if found.status.ended:
            return StopResult.ENDED
        self._generations[generation] = msgspec.structs.replace(
            found, status=Status.STOPPING, stop_requested_by=found.stop_requested_by or by
        )
        return StopResult.STOPPING

    def forget_events(self, channel: Channel) -> None:
        """What a trim down to nothing does: the positions stay, the events are gone."""
        self._log(channel).entries.clear()

    def begin_new_epoch(self, channel: Channel) -> None:
        """What a server that came back empty does."""
        self._logs.pop(channel, None)

    def _check_available(self) -> None:
        if self.is_unavailable:
            raise BrokerUnavailable("the broker does not answer: it is switched away")

    def _log(self, channel: Channel) -> _Log:
        return self._logs.setdefault(channel, _Log())

    def _publish(self, publication: Publication) -> Published:
        key = publication.idempotency_key
        once = (publication.channel, key or "")
        if key and once in self._once:
            return Published(Outcome.DUPLICATE, self._once[once])
        stop_requested_by = None
        if publication.update is not None:
            refused, stop_requested_by = self._apply_update(publication.update, publication.data)
            if refused is not None:
                return Published(refused, None, stop_requested_by)
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
        if key:
            self._once[once] = position
        heard = msgspec.structs.replace(event, trace=publication.trace)
        self._just_written.append(heard)
        return Published(Outcome.WRITTEN, position, stop_requested_by)

    def _apply_update(
        self, step: GenerationUpdate, data: bytes
    ) -> tuple[Outcome | None, str | None]:
        found = self._generations.get(step.generation)
        if found is None:
            return Outcome.GONE, None
        after = apply_update(found, step, data)
        if isinstance(after, Refusal):
            return Outcome(after.value), found.stop_requested_by
        self._generations[step.generation] = after
        return None, found.stop_requested_by


def _offset(event: Event) -> int:
    assert event.position is not None
    return event.position.offset
