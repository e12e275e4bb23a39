"""The log in Redis: a stream for each channel, written and read by one script each.

The scripts (lua/*.lua) carry the invariants; this file turns values into their arguments and
their replies into values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position, new_epoch
from hub.core.event import Event
from hub.ports import FROM_START, Outcome, Page, Publication, Published
from hub.redislink import (
    RedisLink,
    Script,
    channel_keys,
    generation_keys,
    publish_once_key,
)

_PACKAGE: Final = "hub.brokers.redis"
_PUBLISH: Final = Script(_PACKAGE, "head", "publish")
_READ: Final = Script(_PACKAGE, "head", "read")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much the log keeps, and for how long.

    max_events: of one channel; trimmed in blocks of about 100, so somewhat more may be there.
    ttl_seconds: how long a channel's events outlive the newest of them.
    position_ttl_seconds: how long its epoch and offset do, so that an old cursor is known as old.
    idempotency_seconds: how long a publish is remembered by its key.
    generation_ttl_seconds: how long a generation's record outlives its last change.
    """

    max_events: int = 1000
    ttl_seconds: float = 3600.0
    position_ttl_seconds: float = 7 * 86400.0
    idempotency_seconds: float = 600.0
    generation_ttl_seconds: float = 3600.0


class RedisLog:
    """Publishes to and reads from the channels' streams. Raises BrokerUnavailable."""

    def __init__(self, link: RedisLink, retention: Retention) -> None:
        self._link = link
        self._retention = retention
        self._log_ms = _ms(retention.ttl_seconds)
        self._head_ms = _ms(retention.position_ttl_seconds)
        self._once_ms = _ms(retention.idempotency_seconds)
        self._record_ms = _ms(retention.generation_ttl_seconds)

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ports.Broker.publish."""
        calls = [self._publish_call(publication) for publication in publications]
        async with self._link.call() as client:
            replies = await _PUBLISH.run_each(client, calls)
        return [_published(reply) for reply in replies]

    async def read(self, channel: Channel, after: Position | None, limit: int) -> Page:
        """See ports.Broker.read."""
        keys = channel_keys(channel)
        if after is None:
            origin: tuple[str | int, ...] = ("head", "", 0)
        elif after == FROM_START:
            origin = ("start", "", 0)
        else:
            origin = ("after", after.epoch, after.offset)
        args = (new_epoch(), self._head_ms, *origin, limit)
        async with self._link.call() as client:
            reply = await _READ.run(client, (keys.head, keys.log), args)
        return _page(channel, reply)

    def _publish_call(self, publication: Publication) -> tuple[Sequence[str], Sequence[Any]]:
        channel = publication.channel
        names = channel_keys(channel)
        key = publication.idempotency_key
        once = publish_once_key(channel, key) if key else names.head
        ttl_ms = "" if publication.ttl_seconds is None else _ms(publication.ttl_seconds)
        args: list[Any] = [
            names.live,
            new_epoch(),
            publication.name,
            publication.data,
            self._retention.max_events,
            self._log_ms,
            self._head_ms,
            ttl_ms,
            "1" if publication.ephemeral else "",
            self._once_ms if key else "",
        ]
        step = publication.step
        if step is None:
            return (names.head, names.log, once), [*args, ""]
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
        return (names.head, names.log, once, record.record, record.text), args


def parse_announcement(channel: Channel, payload: bytes) -> Event:
    """What publish.lua sent to the channel's pub/sub channel: place, name and data."""
    place, name, data = payload.split(b"\n", 2)
    epoch, offset = place.decode().rsplit("-", 1)
    position = Position(epoch, int(offset)) if epoch else None
    return Event(channel, name.decode(), data, position)


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


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
