"""The link to a real Valkey through a network that fails: what is promised about each call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from hub.backends.redis.client import RedisClient, open_client
from hub.backends.redis.events import RedisEventLog
from hub.core.channel import user_channel
from hub.errors import BrokerUnavailable
from hub.ports.events import FROM_START, Outcome, Publication
from tests.conftest import OpenedRedis
from tests.faults import FaultProxy
from tests.redis_backend import retention

ALICE = user_channel("alice")
TIMEOUT = 0.5


@asynccontextmanager
async def through_proxy(server: OpenedRedis) -> AsyncIterator[tuple[FaultProxy, RedisClient]]:
    """A link to the server that can be troubled."""
    path = server.client.connection_pool.connection_kwargs["path"]
    async with FaultProxy(path) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with open_client(url, timeout_seconds=TIMEOUT) as link:
            yield proxy, link


@pytest.fixture
async def valkey_server(open_redis: Any) -> OpenedRedis:
    """Empty."""
    opened: OpenedRedis = await open_redis("valkey")
    return opened


async def test_calls_of_many_come_back_to_each(valkey_server: OpenedRedis) -> None:
    """A thousand calls on one connection: each gets its own answer."""
    link = valkey_server.link

    async def echo(n: int) -> bool:
        return bool(await link.call(n % 128, "ECHO", str(n)) == str(n).encode())

    assert all(await asyncio.gather(*(echo(n) for n in range(1000))))
    clients = await valkey_server.client.client_list()
    assert len(clients) == 2  # the link's, and the one that asks


async def test_cancelled_call_disturbs_no_other(valkey_server: OpenedRedis) -> None:
    """Its answer comes all the same, and is nobody's."""
    link = valkey_server.link
    await link.ping()
    calls = [asyncio.create_task(link.call(0, "ECHO", str(n))) for n in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    kept = await asyncio.gather(*calls[1::2])
    assert kept == [b"1", b"3", b"5", b"7", b"9"]


async def test_error_is_told_and_the_link_goes_on(valkey_server: OpenedRedis) -> None:
    """A refusal belongs to one call."""
    with pytest.raises(BrokerUnavailable, match="refuses: ERR unknown command"):
        await valkey_server.link.call(0, "NONSENSE")
    assert await valkey_server.link.call(0, "ECHO", "x") == b"x"


async def test_server_that_does_not_answer(valkey_server: OpenedRedis) -> None:
    """Each caller is told in time, also those who come later; then all heals by itself."""
    async with through_proxy(valkey_server) as (proxy, link):
        await link.ping()
        proxy.blackhole()
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                await link.ping()
            assert time.monotonic() - begun < TIMEOUT * 1.6
        proxy.heal()
        async with asyncio.timeout(30):
            while True:
                try:
                    await link.ping()
                    break
                except BrokerUnavailable:
                    pass


async def test_refused_publish_is_never_written_later(valkey_server: OpenedRedis) -> None:
    """What was answered with an error while the broker was away does not appear afterwards."""
    async with through_proxy(valkey_server) as (proxy, link):
        log = RedisEventLog(link, retention())
        await link.ping()
        proxy.refusing = True
        proxy.reset_all()
        await asyncio.sleep(0.05)
        with pytest.raises(BrokerUnavailable):
            await log.publish([Publication(channel=ALICE, name="n", data=b"refused")])
        proxy.heal()
        await log.publish([Publication(channel=ALICE, name="n", data=b"taken")])
        pages = await log.read({ALICE: FROM_START}, max_events=10, max_bytes=1000)
        assert [event.data for event in pages[ALICE].events] == [b"taken"]


async def test_call_rides_out_a_short_break(valkey_server: OpenedRedis) -> None:
    """A caller who comes while the link is being made anew waits for it."""
    async with through_proxy(valkey_server) as (proxy, link):
        await link.ping()
        for _ in range(20):
            with capture_logs() as said:
                proxy.reset_all()
                while not [line for line in said if line["event"] == "pipe.link_lost"]:
                    await asyncio.sleep(0)
            assert await link.call(0, "ECHO", "x") == b"x"


@pytest.mark.slow
async def test_lost_replies_make_no_second_event(valkey_server: OpenedRedis) -> None:
    """A thousand publishes whose reply was lost, each sent again with its key: one event each."""
    async with through_proxy(valkey_server) as (proxy, link):
        log = RedisEventLog(link, retention())
        again = 0
        for n in range(1000):
            once = Publication(channel=ALICE, name="n", data=b"%d" % n, idempotency_key=str(n))
            await link.ping()
            proxy.drop_replies()
            with pytest.raises(BrokerUnavailable):
                await log.publish([once])
            (answer,) = await log.publish([once])
            again += answer.outcome is Outcome.DUPLICATE
        pages = await log.read({ALICE: FROM_START}, max_events=2000, max_bytes=10**6)
        assert [event.data for event in pages[ALICE].events] == [b"%d" % n for n in range(1000)]
        assert again == 1000


async def test_reply_cut_anywhere(valkey_server: OpenedRedis) -> None:
    """A reply that ends in the middle is no reply."""
    async with through_proxy(valkey_server) as (proxy, link):
        await link.ping()
        whole = b"x" * 1000
        for cut in (1, 2, 5, 500, 1008):
            proxy.cut_after(cut)
            with pytest.raises(BrokerUnavailable):
                await link.call(0, "ECHO", whole)
            proxy.heal()
            assert await link.call(0, "ECHO", whole) == whole


async def test_new_server_knows_the_scripts(valkey_server: OpenedRedis) -> None:
    """Not one call is refused at first: a refused one would come after those that follow it."""
    server = valkey_server.client
    await server.script_flush()
    await server.config_resetstat()
    async with through_proxy(valkey_server) as (_, link):
        log = RedisEventLog(link, retention())
        many = [Publication(channel=ALICE, name="n", data=b"%d" % n) for n in range(100)]
        await asyncio.gather(*(log.publish(many) for _ in range(5)))
    assert "errorstat_NOSCRIPT" not in await server.info("errorstats")


async def test_loading_server_is_waited_for(valkey_server: OpenedRedis) -> None:
    """A refusal that passes by itself is repeated for a while, then told."""
    link = valkey_server.link
    await valkey_server.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        refused = asyncio.create_task(link.call(0, "SET", "key", "value"))
        with pytest.raises(BrokerUnavailable, match="refuses for now: READONLY"):
            await refused
        waiting = asyncio.create_task(link.call(0, "SET", "key", "value"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    finally:
        await valkey_server.client.execute_command("REPLICAOF", "NO", "ONE")
    assert await waiting == b"OK"
