"""The log in Redis: a stream for each channel, written and read by one script each.

The scripts (lua/*.lua) carry the invariants; this file turns values into their arguments and
their replies into values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.backends.redis.client import (
    RedisClient,
    Script,
    ScriptCall,
    channel_keys,
    generation_keys,
    publish_idempotency_key,
)
from hub.backends.redis.client.connection import Argument
from hub.core.channel import ALL, Channel
from hub.core.cursor import Position, new_epoch
from hub.core.event import Event
from hub.engine.tasks import BackgroundTasks
from hub.errors import BrokerUnavailable
from hub.ports.events import FROM_START, Outcome, Page, Publication, Published

_PACKAGE: Final = "hub.backends.redis"
_PUBLISH: Final = Script(_PACKAGE, "channel_head", "publish")
_READ: Final = Script(_PACKAGE, "channel_head", "read")
_IN_ONE_CALL: Final = 64  # events; so that nobody else waits long for the server
_PAGES_IN_ONE_CALL: Final = 8
_NO_ANSWER: Final = BrokerUnavailable("the broker has not answered")
_OUTCOMES: Final = {outcome.value.encode(): outcome for outcome in Outcome}


class ChannelRetention(msgspec.Struct, frozen=True, kw_only=True):
    """How much the log of one channel keeps; whatever bound is reached first counts.

    max_events: trimmed in blocks of about 100, so somewhat more may be there.
    max_bytes: of names and data; trimmed at 9/8 of it. The newest event stays whatever its size.
    ttl_seconds: an event's age; trimmed at 9/8 of it.
    """

    max_events: int
    max_bytes: int
    ttl_seconds: float

    @property
    def ttl_ms(self) -> int:
        """The age in what Redis counts in."""
        return to_milliseconds(self.ttl_seconds)


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much the broker keeps, and for how long.

    user, topic, everyone: of the channels of each kind.
    position_ttl_seconds: how long a channel's epoch and offset outlive their last use, so that an
        old cursor is known as old.
    idempotency_seconds: how long a publish is remembered by its key.
    generation_ttl_seconds: how long a generation's record outlives its last change.
    """

    user: ChannelRetention
    topic: ChannelRetention
    all: ChannelRetention
    position_ttl_seconds: float
    idempotency_seconds: float
    generation_ttl_seconds: float

    def of(self, channel: Channel) -> ChannelRetention:
        """What is kept of a channel."""
        if channel.startswith("user:"):
            return self.user
        return self.all if channel == ALL else self.topic


class PublishBatch:
    """What somebody publishes at once, and the answers to it."""

    __slots__ = ("answered", "answers", "publications")

    def __init__(self, publications: Sequence[Publication], answered: asyncio.Future[None]) -> None:
        self.publications = publications
        self.answered = answered
        self.answers: list[Published | BrokerUnavailable] = [_NO_ANSWER] * len(publications)


class RedisEventLog:
    """Publishes to and reads from the channels' streams. Raises BrokerUnavailable."""

    def __init__(self, client: RedisClient, retention: Retention) -> None:
        self._client = client
        self._retention = retention
        self._announce = "SPUBLISH" if client.sharded else "PUBLISH"
        self._head_ms = to_milliseconds(retention.position_ttl_seconds)
        self._ttl_refresh_at = (
            self._head_ms,
            to_milliseconds(retention.idempotency_seconds),
            to_milliseconds(retention.generation_ttl_seconds),
        )
        kinds = (retention.user, retention.topic, retention.all)
        self._channel_retentions = [
            f"{keep.max_events} {keep.max_bytes} {keep.ttl_ms}" for keep in kinds
        ]
        self._unsent: list[PublishBatch] = []
        self._background_tasks = BackgroundTasks()

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ports.events.EventWriter.publish."""
        published = []
        for answer in await self.try_publish(publications):
            if isinstance(answer, BrokerUnavailable):
                raise answer
            published.append(answer)
        return published

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        """See ports.events.EventWriter.try_publish.

        Everything that is published in one iteration of the loop, by any caller, goes to each
        server in as few calls as possible.
        """
        if not publications:
            return []
        for publication in publications:
            if publication.update is not None and not generation_keys(
                publication.update.generation
            ):
                raise ValueError(f"not a generation's id: {publication.update.generation!r}")
        loop = asyncio.get_running_loop()
        if not self._unsent:
            loop.call_soon(self._flush)
        lot = PublishBatch(publications, loop.create_future())
        self._unsent.append(lot)
        await lot.answered
        return lot.answers

    def _flush(self) -> None:
        lots, self._unsent = self._unsent, []
        self._background_tasks.run("publish", self._send(lots))

    async def _send(self, lots: Sequence[PublishBatch]) -> None:
        """The events of one call are of one partition in a Cluster; elsewhere of any."""
        try:
            await self._send_all(lots)
        finally:
            for lot in lots:
                if not lot.answered.done():  # else its caller was cancelled
                    lot.answered.set_result(None)

    async def _send_all(self, lots: Sequence[PublishBatch]) -> None:
        groups: dict[int, list[tuple[Publication, PublishBatch, int]]] = {}
        for lot in lots:
            for n, publication in enumerate(lot.publications):
                partition = 0
                if self._client.sharded:
                    partition = channel_keys(publication.channel).partition
                groups.setdefault(partition, []).append((publication, lot, n))
        batches = [
            group[first : first + _IN_ONE_CALL]
            for group in groups.values()
            for first in range(0, len(group), _IN_ONE_CALL)
        ]
        calls = [self.publish_call([publication for publication, *_ in each]) for each in batches]
        replies = await self._client.try_run(calls)
        for batch, reply in zip(batches, replies, strict=True):
            away = isinstance(reply, BrokerUnavailable)
            for place, (_, lot, n) in enumerate(batch):
                lot.answers[n] = reply if away else _published(reply[place])

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> dict[Channel, Page]:
        """See ports.events.EventReader.read."""
        calls: list[ScriptCall] = []
        asked: list[Channel] = []
        for channels in self._by_call(after):
            calls.append(self._read_call({c: after[c] for c in channels}, max_events, max_bytes))
            asked += channels
        pages = [page for reply in await self._client.run(calls) for page in reply]
        found = {channel: _page(channel, page) for channel, page in zip(asked, pages, strict=True)}
        return {channel: found[channel] for channel in after}

    def _by_call(self, channels: Iterable[Channel]) -> Iterable[Sequence[Channel]]:
        """Channels that one call may name: few, and in a Cluster of one partition."""
        groups: dict[int, list[Channel]] = {}
        for channel in channels:
            partition = channel_keys(channel).partition if self._client.sharded else 0
            groups.setdefault(partition, []).append(channel)
        return [
            group[first : first + _PAGES_IN_ONE_CALL]
            for group in groups.values()
            for first in range(0, len(group), _PAGES_IN_ONE_CALL)
        ]

    def _read_call(
        self, after: Mapping[Channel, Position | None], max_events: int, max_bytes: int
    ) -> ScriptCall:
        keys: list[str] = []
        args: list[Argument] = [new_epoch(), self._head_ms, max_events, max_bytes]
        for channel, position in after.items():
            names = channel_keys(channel)
            keys += (names.head, names.log)
            args += (self._retention.of(channel).ttl_ms, *_origin(position))
        return ScriptCall(_READ, channel_keys(next(iter(after))).partition, keys, args)

    def publish_call(self, publications: Sequence[Publication]) -> ScriptCall:
        """The call that publishes them, all of one partition if that matters here."""
        keys: list[str] = []
        args: list[Argument] = [
            self._announce,
            new_epoch(),
            *self._ttl_refresh_at,
            len(publications),
        ]
        args += self._channel_retentions
        for publication in publications:
            _add(publication, keys, args)
        partition = channel_keys(publications[0].channel).partition
        return ScriptCall(_PUBLISH, partition, keys, args)


def _origin(after: Position | None) -> tuple[Argument, Argument, Argument]:
    """Where a page begins, as read.lua has it."""
    if after is None:
        return "head", "", 0
    if after == FROM_START:
        return "start", "", 0
    return "after", after.epoch, after.offset


def _add(publication: Publication, keys: list[str], args: list[Argument]) -> None:
    """One event's part of publish.lua's keys and arguments."""
    channel, step = publication.channel, publication.update
    names = channel_keys(channel)
    flags = channel[0] if channel.startswith("user:") or channel == ALL else "t"
    more_keys: tuple[str, ...] = ()
    more_args: tuple[Argument, ...] = ()
    if publication.ephemeral:
        flags += "e"
    if publication.idempotency_key is not None:
        flags += "k"
        more_keys += (publish_idempotency_key(channel, publication.idempotency_key),)
    if publication.ttl_seconds is not None:
        flags += "x"
        more_args += (to_milliseconds(publication.ttl_seconds),)
    if step is not None:
        flags += "s"
        record = generation_keys(step.generation)
        if record is None:
            raise ValueError(f"not a generation's id: {step.generation!r}")
        more_keys += (record.record, record.text)
        more_args += (step.kind.value, step.attempt, step.status.value, step.index, step.text)
    if publication.trace:
        flags += "c"
        more_args += (publication.trace,)
    keys += (names.head, names.log, *more_keys)
    args += (flags, publication.name, publication.data, *more_args)


def parse_announcement(channel: Channel, payload: bytes) -> Event:
    """What publish.lua sent to the channel's pub/sub channel: place, name and data."""
    place, name, data = payload.split(b"\n", 2)
    epoch, rest = place.decode().rsplit("-", 1)
    trace = ""
    try:
        offset = int(rest)
    except ValueError:  # a trace behind it: one event in many, so that the others pay nothing
        number, trace = rest.split(" ")
        offset = int(number)
    position = Position(epoch, offset) if epoch else None
    return Event(channel, name.decode(), data, position, trace)


def to_milliseconds(seconds: float) -> int:
    """What Redis counts in; never nothing."""
    return max(1, round(seconds * 1000))


def _published(reply: list[Any]) -> Published:
    outcome, epoch, offset, stop_requested_by = reply
    position = Position(epoch.decode(), offset) if epoch else None
    return Published(_OUTCOMES[outcome], position, stop_requested_by.decode() or None)


def _page(channel: Channel, reply: list[Any]) -> Page:
    epoch = reply[0].decode()
    fields = iter(reply[4:])
    events = [
        Event(channel, name.decode(), data, Position(epoch, offset))
        for offset, name, data in zip(fields, fields, fields, strict=True)
    ]
    return Page(
        events=events,
        head=Position(epoch, reply[1]),
        end=Position(epoch, reply[3]),
        reset_reason=reply[2].decode() or None,
    )
