"""The deliveries in Redis: a few keys for each queue in each partition, one script per change.

The scripts (lua/deliveries.lua and others) hold the invariants. Nothing tells a worker that a
delivery is due: it asks. One script reads the first due time of every partition of a server in one
call, on a Cluster of every partition in one call each; that costs about 0.1 ms of the server.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.keys import deliveries_key, delivery_lane
from hub.core.channel import PARTITIONS, Channel, partition_of
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
from hub.errors import BrokerUnavailable
from hub.ports.deliveries import Completed, DeliveryCounts, StoredDelivery, TakenDelivery

_PACKAGE: Final = "hub.backends.redis"


def _script(name: str, *, needs_memory: bool = False, is_repeatable: bool = True) -> Script:
    return Script(
        _PACKAGE,
        *("channel_head", "deliveries", name),
        needs_memory=needs_memory,
        is_repeatable=is_repeatable,
    )


_ADD: Final = _script("add_deliveries", needs_memory=True)
_DUE: Final = _script("due_deliveries")
_TAKE: Final = _script("take_deliveries", is_repeatable=False)
_COMPLETE: Final = _script("complete_delivery", is_repeatable=False)
_CANCEL: Final = _script("cancel_delivery", is_repeatable=False)
_REPLAY: Final = _script("replay_delivery", needs_memory=True, is_repeatable=False)
_LIST: Final = _script("list_deliveries")
_LIST_IDS: Final = _script("list_delivery_ids")
_ERASE: Final = _script("erase_deliveries")
_COUNT: Final = _script("count_deliveries")
_ADDED_PER_CALL: Final = 64  # a longer script would block other clients of the server


class RedisDeliveryStore:
    """Implements ports.deliveries.DeliveryStore."""

    def __init__(self, client: RedisClient, limits: DeliveryLimits) -> None:
        self._client = client
        self._limits = encode_limits(limits)

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        by_partition: dict[int, list[Delivery]] = {}
        for delivery in deliveries:
            partition = partition_of(delivery.channel)
            by_partition.setdefault(partition, []).append(delivery)
        calls = [
            self._add_call(partition, group[first : first + _ADDED_PER_CALL])
            for partition, group in by_partition.items()
            for first in range(0, len(group), _ADDED_PER_CALL)
        ]
        await self._client.run(calls)

    def _add_call(self, partition: int, deliveries: Sequence[Delivery]) -> ScriptCall:
        arguments: list[Argument] = []
        for each in deliveries:
            fields = encode_delivery(each)
            arguments += [self._limits, each.channel, *fields]
        keys = [deliveries_key(partition, each.queue) for each in deliveries]
        return ScriptCall(_ADD, partition, keys, arguments)

    async def take(self, queue: str, limit: int, *, lease_seconds: float) -> list[TakenDelivery]:
        groups = self._groups()
        keys = [[deliveries_key(partition, queue) for partition in group] for group in groups]
        calls = [
            ScriptCall(_DUE, group[0], names, (limit,))
            for group, names in zip(groups, keys, strict=True)
        ]
        replies = await self._client.run(calls)
        due = [
            (partition, count)
            for group, counts in zip(groups, replies, strict=True)
            for partition, count in zip(group, counts, strict=True)
            if count
        ]
        random.shuffle(due)  # so that no partition is served before the others
        takes: list[ScriptCall] = []
        for partition, count in due:
            if limit <= 0:
                break
            share = min(limit, count)
            limit -= share
            arguments = (share, round(lease_seconds * 1000))
            takes.append(
                ScriptCall(_TAKE, partition, (deliveries_key(partition, queue),), arguments)
            )
        taken = [each for reply in await self._client.run(takes) for each in reply]
        return [_parse_taken(queue, each) for each in taken]

    async def complete(self, taken: TakenDelivery, settlement: Settlement) -> Completed:
        partition = partition_of(taken.channel)
        arguments = (self._limits, taken.id, taken.token, *_encode_settlement(settlement))
        key = deliveries_key(partition, taken.queue)
        (reply,) = await self._client.run([ScriptCall(_COMPLETE, partition, (key,), arguments)])
        return Completed(reply > 0, reply == 2)

    async def cancel(self, queue: str, delivery: str) -> bool:
        return bool(await self._call(_CANCEL, queue, delivery, delivery, "waiting"))

    async def discard(self, queue: str, delivery: str) -> bool:
        return bool(await self._call(_CANCEL, queue, delivery, delivery, "dead"))

    async def replay(self, queue: str, delivery: str) -> bool:
        return bool(await self._call(_REPLAY, queue, delivery, self._limits, delivery))

    async def find(self, queue: str, delivery: str) -> StoredDelivery | None:
        reply = await self._call(_LIST, queue, delivery, self._limits, delivery, 1)
        return _parse_stored(queue, reply[0]) if reply else None

    async def _call(self, script: Script, queue: str, delivery: str, *arguments: Argument) -> Any:
        """Call a script for one delivery; the reply is None when this is not the id of one."""
        partition = partition_of_delivery(delivery)
        if partition is None:
            return None
        key = deliveries_key(partition, queue)
        (reply,) = await self._client.run([ScriptCall(script, partition, (key,), arguments)])
        return reply

    async def list_dead(self, queue: str, limit: int) -> list[StoredDelivery]:
        listed = await self._list(queue, "dead", limit)
        listed.sort(key=lambda each: -int(each[0]))
        return [_parse_stored(queue, each) for each in listed[:limit]]

    async def list_waiting(self, queue: str, limit: int) -> list[StoredDelivery]:
        listed = await self._list(queue, "waiting", limit)
        listed.sort(key=lambda each: int(each[0]))
        return [_parse_stored(queue, each) for each in listed[:limit]]

    async def _list(self, queue: str, which: str, limit: int) -> list[list[Any]]:
        calls = [
            ScriptCall(
                _LIST, partition, (deliveries_key(partition, queue),), (self._limits, which, limit)
            )
            for partition in range(PARTITIONS)
        ]
        return [each for reply in await self._client.run(calls) for each in reply]

    async def list_ids(self, queue: str, channel: Channel) -> list[str]:
        partition = partition_of(channel)
        arguments = (channel, delivery_lane(channel, ""))
        key = deliveries_key(partition, queue)
        (ids,) = await self._client.run([ScriptCall(_LIST_IDS, partition, (key,), arguments)])
        return [each.decode() for each in ids]

    async def erase(self, queue: str, channel: Channel, *, dead_only: bool = False) -> int:
        partition = partition_of(channel)
        arguments = (channel, delivery_lane(channel, ""), "dead" if dead_only else "all")
        key = deliveries_key(partition, queue)
        (count,) = await self._client.run([ScriptCall(_ERASE, partition, (key,), arguments)])
        return int(count)

    async def counts(self, queue: str) -> DeliveryCounts:
        calls = [
            ScriptCall(_COUNT, group[0], [deliveries_key(each, queue) for each in group], ())
            for group in self._groups()
        ]
        lanes, waiting, dead, size, dropped = map(
            sum, zip(*await self._client.run(calls), strict=True)
        )
        return DeliveryCounts(lanes=lanes, waiting=waiting, dead=dead, bytes=size, dropped=dropped)

    def _groups(self) -> list[Sequence[int]]:
        """Return the partitions by call: all in one, on a Cluster each in its own."""
        if self._client.sharded:
            return [[partition] for partition in range(PARTITIONS)]
        return [range(PARTITIONS)]


async def count_overdue(client: RedisClient, queue: str, seconds: float) -> int | None:
    """Return how many lanes have been due for so long that no worker can be looking for them.

    Of each partition, at most 100 are counted. None if the login may not ask for it. Raise
    BrokerUnavailable.
    """
    try:
        now, _ = await client.call(0, "TIME")
        latest = round((int(now) - seconds) * 1000)
        lanes = await asyncio.gather(
            *(
                client.call_key(
                    partition,
                    *("ZRANGEBYSCORE", deliveries_key(partition, queue)),
                    *("-inf", latest, "LIMIT", 0, 100),
                )
                for partition in range(PARTITIONS)
            )
        )
    except BrokerUnavailable as error:
        if "NOPERM" in str(error):
            return None
        raise
    return sum(map(len, lanes))


def encode_limits(limits: DeliveryLimits) -> str:
    """Return limits as the scripts take them."""
    ttl_ms, dead_ms = round(limits.ttl_seconds * 1000), round(limits.dead_seconds * 1000)
    return f"{limits.max_per_lane} {limits.max_bytes} {ttl_ms} {limits.max_dead} {dead_ms}"


def encode_delivery(delivery: Delivery) -> tuple[Argument, ...]:
    """Return lane, id, delay and body as the scripts take them."""
    lane = delivery_lane(delivery.channel, delivery.lane)
    if partition_of_delivery(delivery.id) != partition_of(delivery.channel):
        raise ValueError(f"the id is not one of the channel {delivery.channel}: {delivery.id!r}")
    return lane, delivery.id, round(delivery.delay_seconds * 1000), delivery.body


def _encode_settlement(settlement: Settlement) -> tuple[Argument, ...]:
    match settlement:
        case Done():
            return "done", 0, ""
        case Retry(delay_seconds, error):
            return "retry", round(delay_seconds * 1000), error_line(error)
        case Postponed(delay_seconds):
            return "postpone", round(delay_seconds * 1000), ""
        case Dead(error):
            return "dead", 0, error_line(error)


def _parse_taken(queue: str, reply: Sequence[Any]) -> TakenDelivery:
    lane, delivery, channel, body, token, failures, age_ms, position = reply
    epoch, _, offset = position.decode().partition(" ")
    return TakenDelivery(
        queue=queue,
        channel=Channel(channel.decode()),
        lane=_own_lane(lane),
        id=delivery.decode(),
        body=body,
        token=token,
        failures=failures,
        age_seconds=age_ms / 1000,
        position=Position(epoch, int(offset)) if epoch else None,
    )


def _parse_stored(queue: str, reply: Sequence[Any]) -> StoredDelivery:
    _, delivery, channel, lane, body, dead, added, failures, errors = reply
    return StoredDelivery(
        queue=queue,
        channel=Channel(channel.decode()),
        lane=_own_lane(lane),
        id=delivery.decode(),
        body=body,
        state="dead" if dead else "waiting",
        added_at=int(added) / 1000,
        failures=failures,
        errors=errors.decode().splitlines(),
    )


def _own_lane(lane: bytes) -> str:
    return lane.decode().partition("/")[2]
