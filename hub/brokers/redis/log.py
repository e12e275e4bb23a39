"""The log in Redis: a stream for each channel, written and read by one script each.

The scripts (lua/*.lua) carry the invariants; this file turns values into their arguments and
their replies into values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.channel import ALL, Channel
from hub.core.cursor import Position, new_epoch
from hub.core.event import Event
from hub.ports import FROM_START, Outcome, Page, Publication, Published
from hub.redislink import (
    RedisLink,
    Script,
    ScriptCall,
    channel_keys,
    generation_keys,
    publish_once_key,
)
from hub.redislink.wire import Word

_PACKAGE: Final = "hub.brokers.redis"
_PUBLISH: Final = Script(_PACKAGE, "head", "publish")
_READ: Final = Script(_PACKAGE, "head", "read")


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """How much the log of one channel keeps; whatever bound is reached first counts.

    max_events: trimmed in blocks of about 100, so somewhat more may be there.
    max_bytes: of names and data; trimmed at 9/8 of it. The newest event stays whatever its size.
    ttl_seconds: an event's age; trimmed at 9/8 of it.
    """

    max_events: int = 10_000
    max_bytes: int = 4 * 1024 * 1024
    ttl_seconds: float = 3600.0


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much the broker keeps, and for how long.

    user, topic, everyone: of the channels of each kind.
    position_ttl_seconds: how long a channel's epoch and offset outlive their last use, so that an
        old cursor is known as old.
    idempotency_seconds: how long a publish is remembered by its key.
    generation_ttl_seconds: how long a generation's record outlives its last change.
    """

    user: Keep = Keep()
    topic: Keep = Keep()
    everyone: Keep = Keep()
    position_ttl_seconds: float = 7 * 86400.0
    idempotency_seconds: float = 600.0
    generation_ttl_seconds: float = 3600.0

    def of(self, channel: Channel) -> Keep:
        """What is kept of a channel."""
        if channel.startswith("user:"):
            return self.user
        return self.everyone if channel == ALL else self.topic


class RedisLog:
    """Publishes to and reads from the channels' streams. Raises BrokerUnavailable."""

    def __init__(self, link: RedisLink, retention: Retention) -> None:
        self._link = link
        self._retention = retention
        self._announce = "SPUBLISH" if link.sharded else "PUBLISH"
        self._head_ms = milliseconds(retention.position_ttl_seconds)
        self._once_ms = milliseconds(retention.idempotency_seconds)
        self._record_ms = milliseconds(retention.generation_ttl_seconds)

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ports.Broker.publish."""
        replies = await self._link.run([self._publish_call(each) for each in publications])
        return [_published(reply) for reply in replies]

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> dict[Channel, Page]:
        """See ports.Broker.read."""
        calls = [
            self._read_call(channel, position, max_events, max_bytes)
            for channel, position in after.items()
        ]
        replies = await self._link.run(calls)
        return {
            channel: _page(channel, reply) for channel, reply in zip(after, replies, strict=True)
        }

    def _read_call(
        self, channel: Channel, after: Position | None, max_events: int, max_bytes: int
    ) -> ScriptCall:
        keys = channel_keys(channel)
        if after is None:
            origin: tuple[str | int, ...] = ("head", "", 0)
        elif after == FROM_START:
            origin = ("start", "", 0)
        else:
            origin = ("after", after.epoch, after.offset)
        log_ms = milliseconds(self._retention.of(channel).ttl_seconds)
        args = (new_epoch(), self._head_ms, log_ms, *origin, max_events, max_bytes)
        return ScriptCall(_READ, keys.partition, (keys.head, keys.log), args)

    def _publish_call(self, publication: Publication) -> ScriptCall:
        channel = publication.channel
        keep = self._retention.of(channel)
        names = channel_keys(channel)
        key = publication.idempotency_key
        once = publish_once_key(channel, key) if key else names.head
        ttl = publication.ttl_seconds
        args: list[Word] = [
            names.live,
            self._announce,
            new_epoch(),
            publication.name,
            publication.data,
            keep.max_events,
            keep.max_bytes,
            milliseconds(keep.ttl_seconds),
            self._head_ms,
            "" if ttl is None else milliseconds(ttl),
            "1" if publication.ephemeral else "",
            self._once_ms if key else "",
        ]
        step = publication.step
        if step is None:
            args.append("")
            return ScriptCall(_PUBLISH, names.partition, (names.head, names.log, once), args)
        record = generation_keys(step.generation)
        if record is None:
            raise ValueError(f"not a generation's id: {step.generation!r}")
        args += [
            step.change.value,
            step.attempt,
            step.status.value,
            step.index,
            step.text,
            self._record_ms,
        ]
        keys = (names.head, names.log, once, record.record, record.text)
        return ScriptCall(_PUBLISH, names.partition, keys, args)


def parse_announcement(channel: Channel, payload: bytes) -> Event:
    """What publish.lua sent to the channel's pub/sub channel: place, name and data."""
    place, name, data = payload.split(b"\n", 2)
    epoch, offset = place.decode().rsplit("-", 1)
    position = Position(epoch, int(offset)) if epoch else None
    return Event(channel, name.decode(), data, position)


def milliseconds(seconds: float) -> int:
    """What Redis counts in; never nothing."""
    return max(1, round(seconds * 1000))


def _published(reply: list[Any]) -> Published:
    outcome, epoch, offset, stop_by = reply
    position = Position(epoch.decode(), offset) if epoch else None
    return Published(Outcome(outcome.decode()), position, stop_by.decode() or None)


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
        read_to=Position(epoch, reply[3]),
        lost=reply[2].decode() or None,
    )
