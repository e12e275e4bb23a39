"""The bus against a real Valkey that cuts its links: what is wanted is heard again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub.backends.redis.client import open_client
from hub.backends.redis.client.pubsub import PubSubTimeouts
from hub.backends.redis.events import RedisEventLog
from hub.backends.redis.subscriptions import RedisSubscriptions
from hub.core.channel import Channel, user_channel
from hub.core.event import Event
from hub.errors import BrokerUnavailable
from hub.ports.events import Publication
from tests.conftest import OpenedRedis, Server
from tests.faults import FaultProxy
from tests.redis_backend import retention

ALICE = user_channel("alice")
BOB = user_channel("bob")


class Ear:
    """A running bus, everything that it heard, and how often its link was made anew."""

    def __init__(self, server: OpenedRedis, **patience: Any) -> None:
        self.server = server.client
        self.log = RedisEventLog(server.link, retention())
        timeout = server.link.timeout_seconds
        self.bus = RedisSubscriptions(
            server.link, PubSubTimeouts(reply_timeout_seconds=timeout, **patience)
        )
        self.heard: asyncio.Queue[Event] = asyncio.Queue()
        self.relinked = asyncio.Event()
        self.bus.listen(self._take, self.relinked.set)
        self.task = asyncio.create_task(self.bus.run())

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.heard.put_nowait(event)

    async def publish(self, channel: Channel, data: str) -> None:
        await self.log.publish([Publication(channel=channel, name="n", data=data.encode())])

    async def next(self) -> str:
        async with asyncio.timeout(30):
            return (await self.heard.get()).data.decode()

    async def channels(self) -> set[str]:
        """What the server thinks that somebody is subscribed to."""
        names = await self.server.pubsub_channels()
        return {name.decode().rpartition(":log:")[2] for name in names}

    async def until_channels(self, *expected: Channel) -> None:
        async with asyncio.timeout(30):
            while await self.channels() != set(expected):
                await asyncio.sleep(0)

    async def until_relinked(self) -> None:
        async with asyncio.timeout(30):
            await self.relinked.wait()
        self.relinked.clear()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def ear(open_redis: Any) -> AsyncIterator[Ear]:
    """A bus that gives up a channel as soon as it is not needed."""
    ear = Ear(await open_redis("valkey"), linger_seconds=0.0)
    yield ear
    await ear.close()


async def test_first_link_is_no_relink(ear: Ear) -> None:
    """Nothing can have been missed before the first subscription."""
    await ear.bus.subscribe([ALICE])
    assert ear.bus.is_synced
    assert not ear.relinked.is_set()


async def test_cut_link_is_made_anew(ear: Ear) -> None:
    """A hundred times: all that is wanted is heard again, and a gap is announced each time."""
    many = [user_channel(f"u{n}") for n in range(700)]
    await ear.bus.subscribe(many)
    for n in range(100):
        await ear.server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await ear.until_relinked()
        await ear.publish(many[n], str(n))
        assert await ear.next() == str(n)
    await ear.until_channels(*many)


async def test_subscribing_while_the_link_is_cut(ear: Ear) -> None:
    """The subscriber waits for the new link, and hears."""
    await ear.bus.subscribe([ALICE])
    await ear.server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await ear.bus.subscribe([BOB])
    await ear.publish(BOB, "heard")
    assert await ear.next() == "heard"


async def test_unneeded_channel_is_given_up(ear: Ear) -> None:
    """After its linger time; one that is wanted again meanwhile stays."""
    await ear.bus.subscribe([ALICE, BOB])
    ear.bus.unsubscribe([ALICE])
    await ear.until_channels(BOB)
    await ear.bus.subscribe([ALICE])
    await ear.publish(ALICE, "again")
    assert await ear.next() == "again"


async def test_lingering_channel_is_free_to_come_back(open_redis: Any) -> None:
    """A page reload costs no command to the server."""
    ear = Ear(await open_redis("valkey"), linger_seconds=0.05)
    await ear.bus.subscribe([ALICE, BOB])
    ear.bus.unsubscribe([ALICE])
    ear.bus.unsubscribe([ALICE, BOB])
    await ear.bus.subscribe([ALICE])
    await ear.until_channels(ALICE)  # bob's time is up, and alice's would have been
    await ear.publish(ALICE, "still")
    assert await ear.next() == "still"
    await ear.close()


async def test_churn_under_cuts_ends_right(ear: Ear) -> None:
    """Subscriptions that come and go while links are cut: exactly the wanted ones remain."""
    for n in range(40):
        await ear.bus.subscribe([user_channel(f"u{n}")])
        ear.bus.unsubscribe([user_channel(f"u{n - 5}")])
        if n % 4 == 0:
            await ear.server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await ear.until_channels(*(user_channel(f"u{n}") for n in range(35, 40)))
    assert not ear.task.done()


async def test_server_that_is_gone_and_returns(short_path: Path) -> None:
    """Subscribing fails in time while it is away; all heals without a restart when it is back."""
    with Server(short_path) as server:
        async with open_client(server.url, timeout_seconds=1.0) as link:
            ear = Ear(OpenedRedis(link, None), max_backoff_seconds=0.05)
            await ear.bus.subscribe([ALICE])
            server.kill()
            with pytest.raises(BrokerUnavailable):
                await ear.publish(ALICE, "lost")
            with pytest.raises(BrokerUnavailable):
                await ear.bus.subscribe([BOB])
            assert not ear.bus.is_synced
            server.start()
            await ear.until_relinked()
            await ear.publish(ALICE, "back")
            assert await ear.next() == "back"
            await ear.publish(BOB, "wanted since")
            assert await ear.next() == "wanted since"
            await ear.close()


async def test_half_open_link_is_given_up(open_redis: Any) -> None:
    """Packets vanish and no error says so: the link is dropped after the silence, and all heals."""
    direct = await open_redis("valkey")
    path = direct.client.connection_pool.connection_kwargs["path"]
    async with FaultProxy(path) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with open_client(url, timeout_seconds=1.0) as link:
            ear = Ear(
                OpenedRedis(link, None),
                max_backoff_seconds=0.01,
                ping_interval_seconds=0.2,
                silence_timeout_seconds=0.8,
            )
            await ear.bus.subscribe([ALICE])
            proxy.blackhole()
            async with asyncio.timeout(30):
                while ear.bus.is_synced:
                    await asyncio.sleep(0.01)
            proxy.heal()
            await ear.until_relinked()
            await ear.publish(ALICE, "heard again")
            assert await ear.next() == "heard again"
            await ear.close()


@pytest.mark.slow
async def test_half_open_link_is_noticed_in_time(open_redis: Any) -> None:
    """With the patience of production: within 15 seconds."""
    direct = await open_redis("valkey")
    path = direct.client.connection_pool.connection_kwargs["path"]
    async with FaultProxy(path) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with open_client(url, timeout_seconds=1.5) as link:
            ear = Ear(OpenedRedis(link, None))
            await ear.bus.subscribe([ALICE])
            proxy.blackhole()
            async with asyncio.timeout(15):
                while ear.bus.is_synced:
                    await asyncio.sleep(0.05)
            await ear.close()
