"""What only the store of deliveries in Redis has: clocks of other servers, and keys that expire."""

from __future__ import annotations

from typing import Any

import pytest

from hub.backends.redis import RedisBackend
from hub.backends.redis.keys import deliveries_key
from hub.core.channel import PARTITIONS, partition_of
from hub.core.deliveries import Dead, Delivery, Done, Retry
from hub.testing.contracts.deliveries import QUEUE, delivery
from hub.testing.contracts.node import ALICE
from tests.conftest import OpenedRedis
from tests.redis_backend import redis_backend

KEY = deliveries_key(partition_of(ALICE), QUEUE)
COUNTS = KEY.removesuffix("due") + "counts"


@pytest.fixture
async def opened(open_redis: Any) -> OpenedRedis:
    redis: OpenedRedis = await open_redis("valkey")
    return redis


@pytest.fixture
def backend(opened: OpenedRedis) -> RedisBackend:
    return redis_backend(opened.hub_client)


async def test_times_of_another_server(opened: OpenedRedis, backend: RedisBackend) -> None:
    """After a fail-over, nothing waits for a time that another clock has set."""
    store = backend.deliveries
    await store.add([delivery("a1"), delivery("a2")])
    (taken,) = await store.take(QUEUE, 10, lease_seconds=60.0)
    await store.complete(taken, Retry(3600.0, "x"))
    assert await store.take(QUEUE, 10, lease_seconds=60.0) == []
    await opened.hub_client.call_key(partition_of(ALICE), "HSET", COUNTS, "clock", "another")
    (again,) = await store.take(QUEUE, 10, lease_seconds=60.0)
    assert again.body == b"a1"
    assert await store.take(QUEUE, 10, lease_seconds=60.0) == []
    item = KEY.removesuffix("due") + f"item:{delivery('a2').id}"
    await opened.hub_client.call_key(partition_of(ALICE), "HSET", item, "due", "99999999999999")
    await store.complete(again, Done())
    assert [each.body for each in await store.take(QUEUE, 10, lease_seconds=60.0)] == [b"a2"]


async def test_expired_deliveries(opened: OpenedRedis, backend: RedisBackend) -> None:
    """A delivery that has expired holds up nobody, and its bytes are free again."""
    store = backend.deliveries
    await store.add([delivery("a1"), delivery("a2"), delivery("a3")])
    for name in ("a1", "a3"):
        item = KEY.removesuffix("due") + f"item:{delivery(name).id}"
        await opened.hub_client.call_key(partition_of(ALICE), "DEL", item)
    (taken,) = await store.take(QUEUE, 10, lease_seconds=60.0)
    assert (taken.body, (await store.counts(QUEUE)).bytes) == (b"a2", 4)
    await store.complete(taken, Done())
    counts = await store.counts(QUEUE)
    assert (counts.lanes, counts.waiting, counts.bytes) == (0, 0, 0)


async def test_expired_deliveries_that_nobody_has_taken(
    opened: OpenedRedis, backend: RedisBackend
) -> None:
    """The next delivery of the partition frees their bytes; their lane outlives them until then."""
    store, client, partition = backend.deliveries, opened.hub_client, partition_of(ALICE)
    await store.add([delivery("a1"), delivery("a2")])
    (lane,) = await client.call_key(partition, "ZRANGE", KEY, 0, 0)
    item = KEY.removesuffix("due") + f"item:{delivery('a1').id}"
    items_ms = await client.call_key(partition, "PTTL", item)
    lane_key = KEY.removesuffix("due") + f"lane:{lane.decode()}"
    assert await client.call_key(partition, "PTTL", lane_key) > 3 * items_ms
    for name in ("a1", "a2"):
        item = KEY.removesuffix("due") + f"item:{delivery(name).id}"
        await client.call_key(partition, "DEL", item)
    await client.call_key(partition, "ZADD", KEY, 1, lane)  # all of their time has passed
    await store.add([delivery("b1", lane="other")])
    counts = await store.counts(QUEUE)
    assert (counts.lanes, counts.waiting, counts.bytes) == (1, 1, 2)


async def test_every_key_expires(opened: OpenedRedis, backend: RedisBackend) -> None:
    """No key of a delivery lives for ever, whatever became of it."""
    store = backend.deliveries
    await store.add([delivery(f"a{n}") for n in range(1001)])  # the last one is a dead letter
    (taken,) = await store.take(QUEUE, 10, lease_seconds=60.0)
    await store.complete(taken, Retry(1.0, "x"))
    (dead,) = await store.list_dead(QUEUE, 10)
    assert await store.cancel(QUEUE, taken.id)
    assert await store.replay(QUEUE, dead.id)
    keys = await opened.client.keys("*deliveries*")
    assert len(keys) > 1000
    assert [key for key in keys if not 0 < await opened.client.ttl(key) <= 14 * 86400] == []


async def test_dead_letters_live_as_long_as_their_count(
    opened: OpenedRedis, backend: RedisBackend
) -> None:
    """The dead letters are subtracted when they expire, since their key does not expire before."""
    store = backend.deliveries
    await store.add([delivery("a1")])
    (taken,) = await store.take(QUEUE, 10, lease_seconds=60.0)
    await store.complete(taken, Dead("x"))
    dead = KEY.removesuffix("due") + "dead"
    client, partition = opened.hub_client, partition_of(ALICE)
    await client.call_key(partition, "PEXPIRE", dead, "60000")  # most of its time has passed
    await client.call_key(partition, "ZADD", dead, "1", f"2:{taken.id}")
    await store.add([delivery("a2")])
    counts = await store.counts(QUEUE)
    assert (counts.waiting, counts.dead, counts.bytes) == (1, 0, 2)
    await store.complete((await store.take(QUEUE, 10, lease_seconds=60.0))[0], Dead("x"))
    await client.call_key(partition, "PEXPIRE", dead, "60000")
    await store.add([delivery("a3")])
    assert await opened.client.pttl(dead) > 60000


async def test_idle_calls(backend: RedisBackend) -> None:
    """A look for due deliveries is one call, whatever the number of partitions."""
    before = backend.statistics.calls
    assert await backend.deliveries.take(QUEUE, 10, lease_seconds=60.0) == []
    assert backend.statistics.calls - before == 1 < PARTITIONS


async def test_body_of_any_bytes(backend: RedisBackend) -> None:
    """Bodies and lanes come back as they were given."""
    body = bytes(range(256)) * 40
    given: Delivery = delivery("x", body=body, lane="a/b c%2F")
    await backend.deliveries.add([given])
    (taken,) = await backend.deliveries.take(QUEUE, 1, lease_seconds=60.0)
    assert (taken.body, taken.lane) == (body, given.lane)
