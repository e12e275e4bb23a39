"""What only a Redis can do to the log: lose a key, forget a script."""

from __future__ import annotations

from typing import Any

import pytest

from hub.brokers.redis.log import RedisLog, Retention
from hub.core.channel import user_channel
from hub.ports import FROM_START, Publication
from hub.redislink import RedisLink, channel_keys

ALICE = user_channel("alice")
KEYS = channel_keys(ALICE)


@pytest.fixture(params=["fakeredis", "valkey", "redis"])
async def link(request: pytest.FixtureRequest, open_redis: Any) -> RedisLink:
    """Each server."""
    link: RedisLink = await open_redis(request.param)
    return link


async def publish(log: RedisLog, data: bytes) -> Any:
    (published,) = await log.publish([Publication(channel=ALICE, name="n", data=data)])
    return published.position


async def test_lost_head_is_a_new_epoch_with_an_empty_log(link: RedisLink) -> None:
    """Entries of an older epoch carry offsets that mean something else now; they are dropped."""
    log = RedisLog(link, Retention())
    before = [await publish(log, b"old") for _ in range(3)]
    await link.client.delete(KEYS.head)
    after = await publish(log, b"new")
    assert after.epoch != before[0].epoch
    assert after.offset == 1
    page = await log.read(ALICE, FROM_START, 10)
    assert [event.data for event in page.events] == [b"new"]
    assert (await log.read(ALICE, before[0], 10)).lost == "epoch"


async def test_lost_log_is_said(link: RedisLink) -> None:
    """Events that expired are a loss for an old cursor, and nothing for a new one."""
    log = RedisLog(link, Retention())
    first, last = await publish(log, b"1"), await publish(log, b"2")
    await link.client.delete(KEYS.log)
    assert (await log.read(ALICE, first, 10)).lost == "trimmed"
    assert (await log.read(ALICE, last, 10)).lost is None
    start = await log.read(ALICE, FROM_START, 10)
    assert (start.lost, list(start.events), start.read_to) == (None, [], last)


async def test_forgotten_scripts_heal(link: RedisLink) -> None:
    """A server that was restarted, or told to forget, learns the scripts again."""
    log = RedisLog(link, Retention())
    await publish(log, b"1")
    await link.client.script_flush()
    many = [Publication(channel=ALICE, name="n", data=b"%d" % n) for n in range(2, 5)]
    published = await log.publish(many)
    assert [each.position.offset for each in published if each.position] == [2, 3, 4]


async def test_everything_expires(link: RedisLink) -> None:
    """No key is without a time to live."""
    log = RedisLog(link, Retention())
    once = Publication(channel=ALICE, name="n", data=b"1", idempotency_key="k")
    await log.publish([once])
    await log.read(user_channel("reader"), None, 1)
    names = await link.client.keys("*")
    assert len(names) == 4
    for name in names:
        assert await link.client.pttl(name) > 0
