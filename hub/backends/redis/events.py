"""The event log in Redis: one stream for each channel, written and read by one script each.

The scripts (lua/publish.lua, lua/read.lua) hold the invariants. This module encodes their arguments
and decodes their replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from hub.backends.redis.call_lane import CallBatch, CallLane
from hub.backends.redis.client import (
    RedisClient,
    Script,
    ScriptCall,
    channel_keys,
    generation_keys,
    inbox_keys,
    publish_idempotency_key,
)
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.client.pipeline import ConnectionLost
from hub.backends.redis.deliveries import encode_delivery, encode_limits
from hub.backends.redis.item_events import build_item_event, parse_stored_event
from hub.backends.redis.keys import deliveries_key
from hub.core.channel import ALL, Channel, topics_among
from hub.core.cursor import Position, new_epoch
from hub.core.deliveries import PUSH_QUEUE, DeliveryLimits
from hub.core.event import Event
from hub.core.external_producer import ExternalUpdate
from hub.core.generation import GenerationUpdate, UpdateKind
from hub.core.inbox import InboxOptions, item_fields, max_stored_items
from hub.core.inputs import AnsweredInput, RequestedInput
from hub.errors import BrokerUnavailable
from hub.ports.events import (
    FROM_START,
    Outcome,
    Page,
    Publication,
    Published,
    publication_digest,
)

_PACKAGE: Final = "hub.backends.redis"
_UPDATE_PARTS: Final = ("lease", "chat", "inputs", "update_generation", "deliveries")
_INBOX_PARTS: Final = ("inbox", "keep_item")
_PUBLISH: Final = Script(
    _PACKAGE, "publish_plain", "channel_head", "append", "no_updates", "no_inbox", "publish"
)
_PUBLISH_ITEMS: Final = Script(
    _PACKAGE, "publish_plain", "channel_head", "append", "no_updates", *_INBOX_PARTS, "publish"
)
_PUBLISH_UPDATES: Final = Script(
    _PACKAGE, "publish_plain", "channel_head", "append", *_UPDATE_PARTS, *_INBOX_PARTS, "publish"
)
_PUBLISH_ENDS: Final = Script(
    _PACKAGE,
    "publish_plain",
    "channel_head",
    "append",
    *_UPDATE_PARTS,
    "no_inbox",
    "publish",
    needs_memory=False,
)
_READ: Final = Script(
    _PACKAGE, "channel_head", "log_entries", "read", needs_memory=False, is_repeatable=True
)
_HEADS: Final = Script(_PACKAGE, "heads", needs_memory=False, is_repeatable=True)
_ERASE: Final = Script(
    _PACKAGE, "channel_head", "append", "erase_log", needs_memory=False, is_repeatable=True
)
EVENTS_PER_CALL: Final = 64  # a longer script would block other clients of the server
_PAGES_PER_CALL: Final = 8
_HEADS_PER_CALL: Final = 250  # about 0.5 ms
_MAX_PUBLISH_TIMEOUTS: Final = 4 / 3  # 2 seconds with the default timeout
_NOT_READ: Final = BrokerUnavailable("the broker has not answered")
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


class ChannelRetention(msgspec.Struct, frozen=True, kw_only=True):
    """How much the log of one channel keeps. The bound that is reached first counts.

    max_events: number of events. The log is trimmed at every 64th event, in blocks of up to 100
        entries, so it may hold more.
    max_bytes: bytes of names and data. The log is trimmed at 9/8 of it; the newest event always
        stays.
    ttl_seconds: age of an event. The log is trimmed at 9/8 of it.
    """

    max_events: int
    max_bytes: int
    ttl_seconds: float

    @property
    def ttl_ms(self) -> int:
        """The age in milliseconds."""
        return to_milliseconds(self.ttl_seconds)


class InboxRetention(msgspec.Struct, frozen=True, kw_only=True):
    """How much an inbox keeps.

    max_items: the number of its items (core.inbox.max_stored_items). ttl_seconds: their age.
    settings_ttl_seconds: how long the settings of a user outlive their last use.
    """

    max_items: int
    ttl_seconds: float
    settings_ttl_seconds: float

    @property
    def limits(self) -> str:
        """The limits as inbox.lua takes them."""
        stored = max_stored_items(self.max_items)
        return f"{self.max_items} {stored} {to_milliseconds(self.ttl_seconds)}"

    def item_ttl_ms(self, options: InboxOptions) -> int:
        """Return how long an item is kept, in milliseconds."""
        chosen = options.expires_seconds
        return to_milliseconds(
            self.ttl_seconds if chosen is None else min(chosen, self.ttl_seconds)
        )


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much the backend keeps, and for how long.

    user, topic, all: the retention of the channels of each kind.
    position_ttl_seconds: how long the head of a channel (epoch and offset) outlives its last use.
        While it exists, an old cursor is recognised as old.
    idempotency_seconds: how long the idempotency key of a publish is remembered.
    generation_ttl_seconds: how long the record of a generation outlives its last change.
    inbox: how much each inbox keeps.
    """

    user: ChannelRetention
    topic: ChannelRetention
    all: ChannelRetention
    position_ttl_seconds: float
    idempotency_seconds: float
    generation_ttl_seconds: float
    inbox: InboxRetention

    def of(self, channel: Channel) -> ChannelRetention:
        """Return the retention of a channel."""
        if channel.startswith("user:"):
            return self.user
        return self.all if channel == ALL else self.topic


def channel_retention(retention: Retention, channel: Channel) -> str:
    """Return the retention of a channel as append.lua takes it."""
    return _encode_retention(retention.of(channel))


def _encode_retention(keep: ChannelRetention) -> str:
    return f"{keep.max_events} {keep.max_bytes} {keep.ttl_ms}"


class ReplicaWait(msgspec.Struct, frozen=True):
    """How durable publications wait for replicas.

    client: a client of its own, because a connection that waits answers nothing else. replicas: how
        many replicas should have the event before the publisher is answered.
    """

    client: RedisClient
    replicas: int


class RedisEventLog:
    """Implements ports.events.EventLog.

    replica_wait: how durable publications wait for replicas; None means that they do not.
    delivery_limits: how much of each queue of deliveries is stored; None means that no publication
        has deliveries.
    """

    def __init__(
        self,
        client: RedisClient,
        retention: Retention,
        replica_wait: ReplicaWait | None = None,
        *,
        delivery_limits: DeliveryLimits | None = None,
    ) -> None:
        self._client = client
        self._delivery_limits = "" if delivery_limits is None else encode_limits(delivery_limits)
        self._retention = retention
        self._publish_command = "SPUBLISH" if client.sharded else "PUBLISH"
        self._head_ttl_ms = to_milliseconds(retention.position_ttl_seconds)
        ttls = (
            retention.position_ttl_seconds,
            retention.idempotency_seconds,
            retention.generation_ttl_seconds,
        )
        kinds = (retention.user, retention.topic, retention.all)
        self._limits = "|".join(  # by all events of a call (publish.lua)
            (
                " ".join(str(to_milliseconds(seconds)) for seconds in ttls),
                *map(_encode_retention, kinds),
            )
        )
        self._inbox = retention.inbox
        self._inbox_limits = retention.inbox.limits
        self._lane: CallLane[Publication, Published] = CallLane("publish", self._send)
        self._reads: CallLane[_PageRequest, Page] = CallLane("read", self._send_reads)
        self._durable_lane = self._lane
        if replica_wait is not None:
            self._durable_lane = CallLane(
                "publish", partial(self._send, replica_wait=replica_wait), waits=True
            )

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ports.events.EventWriter.publish."""
        published = []
        for result in await self._choose_lane(publications).call(publications):
            if isinstance(result, BrokerUnavailable):
                raise result
            published.append(result)
        return published

    async def erase(self, channel: Channel) -> None:
        """See ports.events.EventLog.erase."""
        names = channel_keys(channel)
        arguments = (self._publish_command, new_epoch(), self._head_ttl_ms)
        keys = (names.head, names.log)
        await self._client.run([ScriptCall(_ERASE, names.partition, keys, arguments)])

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        """See ports.events.EventWriter.try_publish.

        Everything that is published in one iteration of the loop, by any caller, goes to each
        server in as few calls as possible.
        """
        return await self._choose_lane(publications).call(publications)

    def _choose_lane(self, publications: Sequence[Publication]) -> CallLane[Publication, Published]:
        """Return the lane of these publications. Raise ValueError for an invalid generation."""
        is_durable = False
        for publication in publications:
            update = publication.update
            if update is not None and not generation_keys(update.generation):
                raise ValueError(f"not the id of a generation: {update.generation!r}")
            is_durable = is_durable or publication.durable
        return self._durable_lane if is_durable else self._lane

    async def _send(
        self,
        batches: Sequence[CallBatch[Publication, Published]],
        replica_wait: ReplicaWait | None = None,
    ) -> None:
        """Send the publications, and once again those with a key whose reply was lost.

        The key tells the broker whether the first one was executed. Of the others only the
        publisher knows whether they may be repeated. Both together take at most
        `_MAX_PUBLISH_TIMEOUTS` times the timeout of one call.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._client.timeout_seconds * _MAX_PUBLISH_TIMEOUTS
        addressed = [
            (publication, batch, n)
            for batch in batches
            for n, publication in enumerate(batch.items)
        ]
        lost = await self._send_once(addressed, replica_wait)
        keyed = [each for each in lost if each[0].idempotency_key is not None]
        if keyed:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._send_once(keyed, replica_wait)

    async def _send_once(
        self, addressed: Sequence[_Addressed], replica_wait: ReplicaWait | None
    ) -> list[_Addressed]:
        """Send publications and set their results. Return those whose reply was lost."""
        chunks = self._chunks(addressed)
        calls = [self.publish_call([publication for publication, *_ in chunk]) for chunk in chunks]
        replies: list[tuple[Any, int | None]]
        if replica_wait is None:
            replies = [(reply, None) for reply in await self._client.try_run(calls)]
        else:
            waiting, replicas = replica_wait.client, replica_wait.replicas
            replies = [*await waiting.try_run_and_wait(calls, replicas)]
        lost: list[_Addressed] = []
        for chunk, (reply, count) in zip(chunks, replies, strict=True):
            _set_results(chunk, reply, count)
            if isinstance(reply, ConnectionLost):
                lost += chunk
        return lost

    def _chunks(self, addressed: Sequence[_Addressed]) -> list[Sequence[_Addressed]]:
        """Split publications into those of each call."""
        groups: Iterable[Sequence[_Addressed]] = [addressed]
        if self._client.sharded:  # all events of one call belong to one partition
            by_partition: dict[int, list[_Addressed]] = {}
            for each in addressed:
                partition = channel_keys(each[0].channel).partition
                by_partition.setdefault(partition, []).append(each)
            groups = by_partition.values()
        return [chunk for group in groups for run in _runs(group) for chunk in pack_calls(run)]

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> dict[Channel, Page]:
        """See ports.events.EventReader.read.

        Everything that is read in one iteration of the loop, by any caller, goes to the server in
        as few calls as possible. In a Cluster, each caller waits only for its own servers.
        """
        requests = [
            _PageRequest(channel, position, max_events, max_bytes)
            for channel, position in after.items()
        ]
        results = await (
            self._read_pages(requests) if self._client.sharded else self._reads.call(requests)
        )
        pages: dict[Channel, Page] = {}
        for channel, result in zip(after, results, strict=True):
            if isinstance(result, BrokerUnavailable):
                raise result
            pages[channel] = result
        return pages

    async def _send_reads(self, batches: Sequence[CallBatch[_PageRequest, Page]]) -> None:
        results = iter(await self._read_pages([each for batch in batches for each in batch.items]))
        for batch in batches:
            batch.results = [*islice(results, len(batch.items))]

    async def _read_pages(self, requests: Sequence[_PageRequest]) -> list[Page | BrokerUnavailable]:
        """Read pages, and return each or its error."""
        groups: dict[tuple[int, int, int], list[int]] = {}  # what may be in one call
        for n, request in enumerate(requests):
            partition = channel_keys(request.channel).partition if self._client.sharded else 0
            groups.setdefault((partition, request.max_events, request.max_bytes), []).append(n)
        chunks: list[Sequence[int]] = [
            group[first : first + _PAGES_PER_CALL]
            for group in groups.values()
            for first in range(0, len(group), _PAGES_PER_CALL)
        ]
        results: list[Page | BrokerUnavailable] = [_NOT_READ] * len(requests)
        while chunks:
            calls = [self._read_call([requests[n] for n in chunk]) for chunk in chunks]
            refused: list[Sequence[int]] = []
            for chunk, reply in zip(chunks, await self._client.try_run(calls), strict=True):
                if not isinstance(reply, BrokerUnavailable):
                    for n, page in zip(chunk, reply, strict=True):
                        results[n] = _parse_page(requests[n].channel, page)
                elif len(chunk) > 1 and isinstance(reply.__cause__, ResponseError):
                    refused += [[n] for n in chunk]  # one bad channel harms no other caller
                else:
                    for n in chunk:
                        results[n] = reply
            chunks = refused
        return results

    async def heads(self, channels: Sequence[Channel]) -> dict[Channel, Position | None]:
        """See ports.events.EventReader.heads."""
        groups = list(self._split_by_call(channels, _HEADS_PER_CALL))
        calls = [
            ScriptCall(
                _HEADS,
                channel_keys(group[0]).partition,
                [channel_keys(channel).head for channel in group],
                (self._head_ttl_ms,),
            )
            for group in groups
        ]
        heads: dict[Channel, Position | None] = {}
        for group, reply in zip(groups, await self._client.run(calls), strict=True):
            for channel, fixed, moving in zip(group, reply[::2], reply[1::2], strict=True):
                heads[channel] = _parse_head(fixed, moving) if fixed else None
        return heads

    def _split_by_call(
        self, channels: Iterable[Channel], max_channels: int
    ) -> Iterable[Sequence[Channel]]:
        """Split the channels into groups for one call: few, and of one partition in a Cluster."""
        groups: dict[int, list[Channel]] = {}
        for channel in channels:
            partition = channel_keys(channel).partition if self._client.sharded else 0
            groups.setdefault(partition, []).append(channel)
        return [
            group[first : first + max_channels]
            for group in groups.values()
            for first in range(0, len(group), max_channels)
        ]

    def _read_call(self, requests: Sequence[_PageRequest]) -> ScriptCall:
        first = requests[0]
        keys: list[str] = []
        arguments: list[Argument] = [new_epoch(), self._head_ttl_ms]
        arguments += (first.max_events, first.max_bytes)
        for request in requests:
            names = channel_keys(request.channel)
            keys += (names.head, names.log)
            arguments += (self._retention.of(request.channel).ttl_ms, *_origin(request.after))
        return ScriptCall(_READ, channel_keys(first.channel).partition, keys, arguments)

    def publish_call(self, publications: Sequence[Publication]) -> ScriptCall:
        """Return the call that publishes these; in a Cluster all must belong to one partition."""
        keys: list[str] = []
        shared = f"{self._inbox_limits}|{new_epoch()} {self._limits}"
        arguments: list[Argument] = [self._publish_command, shared]
        flags = "".join(
            [
                _encode(publication, self._delivery_limits, self._inbox, keys, arguments)
                for publication in publications
            ]
        )
        if self._client.sharded:
            # The script builds these names itself, where it needs them. A Cluster that knows them
            # refuses a call whose keys have moved before anything is written.
            kept = [inbox_keys(each.channel) for each in publications if each.inbox is not None]
            keys += (key for names in kept for key in (names.state, names.settings))
        partition = channel_keys(publications[0].channel).partition
        script = _PUBLISH
        if "s" in flags or "d" in flags:
            script = _PUBLISH_ENDS if all(map(_is_end, publications)) else _PUBLISH_UPDATES
        elif "b" in flags:
            script = _PUBLISH_ITEMS
        return ScriptCall(script, partition, keys, arguments)


_Addressed = tuple[Publication, CallBatch[Publication, Published], int]
"""A publication with the place of its result."""


class _PageRequest(NamedTuple):
    """A page of a channel; after: as in ports.events.EventReader.read."""

    channel: Channel
    after: Position | None
    max_events: int
    max_bytes: int


def _runs(group: Sequence[_Addressed]) -> Iterable[Sequence[_Addressed]]:
    """Split events where ends of generations begin or stop: those are published in calls of their
    own, which the server also accepts when its memory is full.
    """
    updates = [each for each in group if each[0].update is not None]
    if not updates:
        return [group]
    return [list(run) for _, run in groupby(group, lambda each: _is_end(each[0]))]


def pack_calls(run: Sequence[_Addressed]) -> Sequence[Sequence[_Addressed]]:
    """Split events into those of each call.

    Those of one caller stay in one call if it has room for them: then all or none are written.
    """
    if len(run) <= EVENTS_PER_CALL:
        return [run]
    chunks: list[list[_Addressed]] = [[]]
    for _, same in groupby(run, itemgetter(1)):
        batch = list(same)
        if len(chunks[-1]) + len(batch) > EVENTS_PER_CALL and chunks[-1]:
            chunks.append([])
        for first in range(0, len(batch), EVENTS_PER_CALL):
            if first:
                chunks.append([])
            chunks[-1] += batch[first : first + EVENTS_PER_CALL]
    return chunks


def _set_results(
    chunk: Sequence[_Addressed], reply: bytes | BrokerUnavailable, replicas: int | None
) -> None:
    if isinstance(reply, BrokerUnavailable):
        for _, batch, n in chunk:
            batch.results[n] = reply
        return
    for (_, batch, n), line in zip(chunk, reply.split(b"\n"), strict=True):
        batch.results[n] = _parse_published(line, replicas)


def _is_end(publication: Publication) -> bool:
    """Return whether it ends a generation, or only renews the lease of an external producer."""
    update = publication.update
    if update is None:
        return False
    renews_only = update.kind is UpdateKind.STORE and not update.entries
    return update.kind is UpdateKind.END or renews_only


def _origin(after: Position | None) -> tuple[Argument, Argument, Argument]:
    """Return where a page begins, as read.lua takes it."""
    if after is None:
        return "head", "", 0
    if after == FROM_START:
        return "start", "", 0
    return "after", after.epoch, after.offset


def _encode(
    publication: Publication,
    delivery_limits: str,
    inbox: InboxRetention,
    keys: list[str],
    arguments: list[Argument],
) -> str:
    """Append the keys and arguments of one event, as publish.lua takes them. Return its flags."""
    channel, update = publication.channel, publication.update
    names = channel_keys(channel)
    flags = channel[0] if channel.startswith("user:") or channel == ALL else "t"
    more_keys: tuple[str, ...] = ()
    more_arguments: tuple[Argument, ...] = ()
    if publication.ephemeral:
        flags += "e"
    if publication.idempotency_key is not None:
        flags += "k"
        more_keys += (publish_idempotency_key(channel, publication.idempotency_key),)
        more_arguments += (publication_digest(publication),)
        if publication.idempotency_seconds is not None:
            flags += "y"
            more_arguments += (to_milliseconds(publication.idempotency_seconds),)
    if publication.ttl_seconds is not None:
        flags += "x"
        more_arguments += (to_milliseconds(publication.ttl_seconds),)
    if update is not None:
        record = generation_keys(update.generation)
        if record is None:
            raise ValueError(f"not the id of a generation: {update.generation!r}")
        more_keys += (record.record, record.parts, record.open)
        more_flags, update_arguments = _encode_update(update)
        flags += more_flags
        more_arguments += update_arguments
    if publication.deliveries:
        flags += "d"
        more_arguments += (len(publication.deliveries),)
        for delivery in publication.deliveries:
            if delivery.channel != channel or not delivery_limits:
                raise ValueError(f"the delivery is of another channel: {delivery.channel!r}")
            more_keys += (deliveries_key(names.partition, delivery.queue),)
            more_arguments += (delivery_limits, channel, *encode_delivery(delivery))
    if publication.inbox is not None:
        flags += "b"
        more_keys += (inbox_keys(channel).items,)
        more_arguments += (_encode_item(publication, publication.inbox, inbox),)
    if publication.trace:
        flags += "c"
        more_arguments += (publication.trace,)
    keys += (names.head, names.log, *more_keys)
    arguments += (flags, publication.name, publication.data, *more_arguments)
    return flags


def _encode_update(update: GenerationUpdate) -> tuple[str, tuple[Argument, ...]]:
    flags = "s"
    arguments: tuple[Argument, ...] = (
        update.kind._value_,  # `value` costs two calls
        update.attempt,
        update.status._value_,
        update.index,
        update.entries,
        update.writer,
        "" if update.journal_bytes is None else update.journal_bytes,
    )
    if update.external is not None:
        flags += "l"
        arguments += _encode_external(update.external)
    if update.input is not None:
        flags += "i"
        arguments += _encode_input(update.input)
    return flags, arguments


def _encode_item(publication: Publication, options: InboxOptions, inbox: InboxRetention) -> bytes:
    """Return the field m of an item (lua/inbox.lua)."""
    topics = topics_among([publication.channel])
    pushes = [each.id for each in publication.deliveries if each.queue == PUSH_QUEUE]
    has = ("k" if options.key else "") + ("p" if pushes else "")
    lines = (
        f"{inbox.item_ttl_ms(options)}{has}",
        options.key,
        options.category,
        "1" if options.required else "",
        " ".join(pushes),
        "",
    )
    fields = item_fields(publication.name, options, next(iter(topics), None))
    return "\n".join(lines).encode() + fields


def _encode_external(external: ExternalUpdate) -> tuple[Argument, ...]:
    lease_seconds, notes = external.lease_seconds, external.notes
    return (
        external.after.encode(),
        external.progress.encode(),
        "" if lease_seconds is None else to_milliseconds(lease_seconds),
        b"" if notes is None else msgspec.json.encode(notes),
    )


def _encode_input(update: RequestedInput | AnsweredInput) -> tuple[Argument, ...]:
    if isinstance(update, AnsweredInput):
        action = "expire" if update.answer.is_expired else "receive"
        return action, update.key, update.answer.digest, ""
    request = update.request
    action = "ask"
    if update.suspends:
        action = f"suspend {-1 if update.max_suspended is None else update.max_suspended}"
    expires_ms = round(request.expires_at * 1000)
    return action, request.input, msgspec.json.encode(request), expires_ms


def parse_announcement(channel: Channel, payload: bytes, events: list[Event]) -> None:
    """Append the events of a message that publish.lua sent.

    Each is a line `<epoch>-<offset>[ ~<epochs>][ <trace>][ <item>][ +<bytes of the data>]`, the
    line of the name, and the data. The epochs are those that the event continues, with commas
    between. Where the data have a length, another event of the same step follows. If an
    event is kept as an item, `<item>` is `i` or `k` and `<epoch>.<offset>` of the item's event, the
    last one of the step; the state of the inbox and the item, seven lines, come before the name.
    """
    item_event: Event | None = None
    continues: tuple[str, ...]
    while payload:
        position_text, name, data = payload.split(b"\n", 2)
        epoch, rest = position_text.decode().rsplit("-", 1)
        trace, continues, payload = "", (), b""
        try:
            offset = int(rest)
        except ValueError:  # has more; rare, so that other events cost nothing more
            number, *more = rest.split(" ")
            offset = int(number)
            size = int(more.pop()) if more[-1].startswith("+") else None
            item = more.pop() if more and more[-1][0] in "ik" else ""
            lines: list[bytes] = []
            if item:  # name and data are its first lines
                *lines, name, data = b"\n".join((name, data)).split(b"\n", 8)
            if size is not None:
                data, payload = data[:size], data[size + 1 :]
            if item:
                item_data = build_item_event(lines, data, replaced=item[0] == "k")
                item_epoch, _, item_offset = item[1:].partition(".")
                at = Position(item_epoch, int(item_offset))
                item_event = Event(channel, "inbox.item", item_data, at)
            if more and more[0].startswith("~"):
                continues = tuple(more.pop(0)[1:].split(","))
            trace = "".join(more)
        position = Position(epoch, offset) if epoch else None
        events.append(Event(channel, name.decode(), data, position, trace, continues))
    if item_event is not None:
        events.append(item_event)


def to_milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least 1."""
    return max(1, round(seconds * 1000))


def _parse_head(fixed: bytes, moving: bytes) -> Position:
    """Parse the fields h and o of a head (channel_head.lua)."""
    epoch, _, _ = fixed.partition(b" ")
    offset, _, _ = moving.partition(b" ")
    return Position(epoch.decode(), int(offset))


def _parse_published(reply: bytes, replicas: int | None) -> Published:
    text = reply.decode()
    outcome, epoch, offset, received, item, stop_requested_by = text.split(" ", 5)
    position = Position(epoch, int(offset)) if epoch else None
    return Published(
        _OUTCOMES[outcome],
        position,
        stop_requested_by or None,
        replicas if position is not None else None,
        int(received),
        item or None,
    )


def _parse_page(channel: Channel, reply: list[Any]) -> Page:
    epoch = reply[0].decode()
    fields = iter(reply[4:])
    events = [
        Event(channel, name.decode(), data, Position(epoch, offset))
        if not name.startswith(b"\n")  # the usual case costs no call
        else Event(channel, *parse_stored_event(name, data), Position(epoch, offset))
        for offset, name, data in zip(fields, fields, fields, strict=True)
    ]
    return Page(
        events=events,
        head=Position(epoch, reply[1]),
        end=Position(epoch, reply[3]),
        reset_reason=reply[2].decode() or None,
    )
