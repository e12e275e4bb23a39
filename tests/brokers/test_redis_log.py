"""What only a Redis can do to the log: lose a key, forget a script."""

from __future__ import annotations

from typing import Any

import pytest

from hub.brokers.redis.log import RedisLog, Retention
from hub.core.channel import user_channel
from hub.core.cursor import Position
from hub.ports import FROM_START, Page, Publication
from hub.redislink import channel_keys
from tests.conftest import OpenedRedis

ALICE = user_channel("alice")
KEYS = channel_keys(ALICE)


@pytest.fixture(params=["fakeredis", "valkey", "redis"])
async def server(request: pytest.FixtureRequest, open_redis: Any) -> OpenedRedis:
    """Each server."""
    opened: OpenedRedis = await open_redis(request.param)
    return opened


async def read(log: RedisLog, after: Position | None) -> Page:
    return (await log.read({ALICE: after}, max_events=10, max_bytes=10**6))[ALICE]


async def publish(log: RedisLog, data: bytes) -> Any:
    (published,) = await log.publish([Publication(channel=ALICE, name="n", data=data)])
    return published.position


async def test_lost_head_is_a_new_epoch_with_an_empty_log(server: OpenedRedis) -> None:
    """Entries of an older epoch carry offsets that mean something else now; they are dropped."""
    log = RedisLog(server.link, Retention())
    before = [await publish(log, b"old") for _ in range(3)]
    await server.client.delete(KEYS.head)
    after = await publish(log, b"new")
    assert after.epoch != before[0].epoch
    assert after.offset == 1
    page = await read(log, FROM_START)
    assert [event.data for event in page.events] == [b"new"]
    assert (await read(log, before[0])).lost == "epoch"


async def test_lost_log_is_said(server: OpenedRedis) -> None:
    """Events that expired are a loss for an old cursor, and nothing for a new one."""
    log = RedisLog(server.link, Retention())
    first, last = await publish(log, b"1"), await publish(log, b"2")
    await server.client.delete(KEYS.log)
    assert (await read(log, first)).lost == "trimmed"
    assert (await read(log, last)).lost is None
    start = await read(log, FROM_START)
    assert (start.lost, list(start.events), start.read_to) == (None, [], last)


async def test_forgotten_scripts_heal(server: OpenedRedis) -> None:
    """A server that was restarted, or told to forget, learns the scripts again."""
    log = RedisLog(server.link, Retention())
    await publish(log, b"1")
    await server.client.script_flush()
    many = [Publication(channel=ALICE, name="n", data=b"%d" % n) for n in range(2, 5)]
    published = await log.publish(many)
    assert [each.position.offset for each in published if each.position] == [2, 3, 4]


async def test_everything_expires(server: OpenedRedis) -> None:
    """No key is without a time to live."""
    log = RedisLog(server.link, Retention())
    once = Publication(channel=ALICE, name="n", data=b"1", idempotency_key="k")
    await log.publish([once])
    await log.read({user_channel("reader"): None}, max_events=1, max_bytes=1)
    names = await server.client.keys("*")
    assert len(names) == 4
    for name in names:
        assert await server.client.pttl(name) > 0
