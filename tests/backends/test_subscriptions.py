"""Subscriptions over a real Valkey that cuts its connections: every event arrives again."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub.backends.redis.client import RedisClient, open_client
from hub.backends.redis.client.pubsub import PubSubTimeouts
from hub.backends.redis.client.topology import RedisServer, parse_topology
from hub.backends.redis.events import RedisEventLog
from hub.backends.redis.subscriptions import RedisSubscriptions
from hub.core.channel import Channel, user_channel
from hub.core.event import Event
from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import BrokerUnavailable
from hub.ports.events import Publication
from tests.conftest import OpenedRedis, Server
from tests.doubles import until
from tests.faults import FaultProxy
from tests.redis_backend import retention

ALICE = user_channel("alice")
BOB = user_channel("bob")


class Subscriber:
    """Running subscriptions, the events that they received, and whether they were restored."""

    def __init__(self, server: OpenedRedis, **timeouts: Any) -> None:
        self.server = server.client
        self.log = RedisEventLog(server.hub_client, retention())
        timeout = server.hub_client.timeout_seconds
        self.subscriptions = RedisSubscriptions(
            server.hub_client, PubSubTimeouts(reply_timeout_seconds=timeout, **timeouts)
        )
        self.received: asyncio.Queue[Event] = asyncio.Queue()
        self.resubscribed = asyncio.Event()
        self.subscriptions.listen(self._on_events, self.resubscribed.set)
        self.task = asyncio.create_task(self.subscriptions.run())

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            self.received.put_nowait(event)

    async def publish(self, channel: Channel, data: str) -> None:
        await self.log.publish([Publication(channel=channel, name="n", data=data.encode())])

    async def next(self) -> str:
        async with asyncio.timeout(60):
            return (await self.received.get()).data.decode()

    async def channels(self) -> set[str]:
        """Return the channels that have a subscriber, according to the server."""
        names = await self.server.pubsub_channels()
        return {name.decode().rpartition(":log:")[2] for name in names}

    async def until_channels(self, *expected: Channel) -> None:
        async with asyncio.timeout(60):
            while await self.channels() != set(expected):
                await asyncio.sleep(0.005)

    async def until_resubscribed(self) -> None:
        async with asyncio.timeout(60):
            await self.resubscribed.wait()
        self.resubscribed.clear()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def event_loop_errors() -> AsyncIterator[list[str]]:
    """The errors that the event loop reports."""
    errors: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append(context["message"]))
    yield errors
    loop.set_exception_handler(None)


@pytest.fixture
async def subscriber(open_redis: Any) -> AsyncIterator[Subscriber]:
    """Subscriptions without a linger time."""
    subscriber = Subscriber(await open_redis("valkey"), linger_seconds=0.0)
    yield subscriber
    await subscriber.close()


async def test_first_connection_reports_no_resubscription(subscriber: Subscriber) -> None:
    """Nothing can have been missed before the first subscription."""
    await subscriber.subscriptions.subscribe([ALICE])
    assert subscriber.subscriptions.is_synced
    assert not subscriber.resubscribed.is_set()


async def test_cut_connection_is_restored(subscriber: Subscriber) -> None:
    """After each of a hundred cuts every event arrives, and the resubscription is reported."""
    many = [user_channel(f"u{n}") for n in range(700)]
    await subscriber.subscriptions.subscribe(many)
    for n in range(100):
        await subscriber.server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await subscriber.until_resubscribed()
        await subscriber.publish(many[n], str(n))
        assert await subscriber.next() == str(n)
    await subscriber.until_channels(*many)


async def test_subscribing_while_the_connection_is_cut(subscriber: Subscriber) -> None:
    """`subscribe` waits for the new connection, and events arrive."""
    await subscriber.subscriptions.subscribe([ALICE])
    await subscriber.server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await subscriber.subscriptions.subscribe([BOB])
    await subscriber.publish(BOB, "received")
    assert await subscriber.next() == "received"


async def test_many_messages_are_read_together(open_redis: Any) -> None:
    """Every message arrives in order, and a node reads at most once in the interval."""
    interval_seconds = 0.1
    subscriber = Subscriber(await open_redis("valkey"), read_interval_seconds=interval_seconds)
    reads = 0

    def on_events(events: Sequence[Event]) -> None:
        nonlocal reads
        reads += 1
        subscriber._on_events(events)

    subscriber.subscriptions.listen(on_events, subscriber.resubscribed.set)
    await subscriber.subscriptions.subscribe([ALICE])
    started = time.monotonic()
    for n in range(0, 100, 4):
        group = [Publication(channel=ALICE, name="n", data=b"%d" % m) for m in range(n, n + 4)]
        await subscriber.log.publish(group)
    assert [await subscriber.next() for _ in range(100)] == [str(n) for n in range(100)]
    assert reads <= 2 + (time.monotonic() - started) / interval_seconds
    await subscriber.close()


async def test_unsubscribed_channel_ends_after_its_linger_time(subscriber: Subscriber) -> None:
    """A channel that is subscribed to again meanwhile stays."""
    await subscriber.subscriptions.subscribe([ALICE, BOB])
    subscriber.subscriptions.unsubscribe([ALICE])
    await subscriber.until_channels(BOB)
    await subscriber.subscriptions.subscribe([ALICE])
    await subscriber.publish(ALICE, "again")
    assert await subscriber.next() == "again"


async def test_lingering_channel_is_free_to_come_back(open_redis: Any) -> None:
    """A page reload sends no command to the server."""
    subscriber = Subscriber(await open_redis("valkey"), linger_seconds=0.05)
    await subscriber.subscriptions.subscribe([ALICE, BOB])
    subscriber.subscriptions.unsubscribe([ALICE])
    subscriber.subscriptions.unsubscribe([ALICE, BOB])
    await subscriber.subscriptions.subscribe([ALICE])
    await subscriber.until_channels(ALICE)  # bob's linger time is over, and alice's would have been
    await subscriber.publish(ALICE, "still")
    assert await subscriber.next() == "still"
    await subscriber.close()


async def test_many_changes_during_cuts(subscriber: Subscriber) -> None:
    """After many changes and cuts exactly the wanted subscriptions remain."""
    for n in range(40):
        await subscriber.subscriptions.subscribe([user_channel(f"u{n}")])
        subscriber.subscriptions.unsubscribe([user_channel(f"u{n - 5}")])
        if n % 4 == 0:
            await subscriber.server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await subscriber.until_channels(*(user_channel(f"u{n}") for n in range(35, 40)))
    assert not subscriber.task.done()


async def test_server_that_stops_and_starts(short_path: Path) -> None:
    """Subscribing fails in time while the server is down; everything works again afterwards."""
    with Server(short_path) as server:
        async with open_client(server.url, timeout_seconds=5.0) as client:
            subscriber = Subscriber(OpenedRedis(client, None), max_backoff_seconds=0.05)
            await subscriber.subscriptions.subscribe([ALICE])
            server.kill()
            with pytest.raises(BrokerUnavailable):
                await subscriber.publish(ALICE, "lost")
            with pytest.raises(BrokerUnavailable):
                await subscriber.subscriptions.subscribe([BOB])
            assert not subscriber.subscriptions.is_synced
            server.start()
            await subscriber.until_resubscribed()
            await subscriber.publish(ALICE, "back")
            assert await subscriber.next() == "back"
            await subscriber.publish(BOB, "subscribed since")
            assert await subscriber.next() == "subscribed since"
            await subscriber.close()


async def test_silent_connection_is_closed(open_redis: Any) -> None:
    """When packets get lost without an error, the connection is closed and replaced."""
    direct = await open_redis("valkey")
    path = direct.client.connection_pool.connection_kwargs["path"]
    async with FaultProxy(path) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with open_client(url, timeout_seconds=10.0) as client:
            subscriber = Subscriber(
                OpenedRedis(client, None),
                max_backoff_seconds=0.01,
                ping_interval_seconds=0.2,
                silence_timeout_seconds=3.0,
            )
            await subscriber.subscriptions.subscribe([ALICE])
            proxy.blackhole()
            async with asyncio.timeout(60):
                while subscriber.subscriptions.is_synced:
                    await asyncio.sleep(0.01)
            proxy.heal()
            await subscriber.until_resubscribed()
            await subscriber.publish(ALICE, "received again")
            assert await subscriber.next() == "received again"
            await subscriber.close()


class MovingTopology:
    """A topology in which every partition belongs to the server that the test chooses."""

    sharded = False
    poll_seconds: float | None = None

    def __init__(self, url: str) -> None:
        self.url = url

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        return await parse_topology(self.url).find_servers(timeout_seconds)

    async def check(self, server: RedisServer, timeout_seconds: float) -> None:
        """Every server may be used."""


async def test_subscribing_right_after_the_topology_has_changed(open_redis: Any) -> None:
    """A channel is subscribed to at its new server before the connection there exists, and one that
    had another server migrates.
    """
    direct = await open_redis("valkey")
    path = direct.client.connection_pool.connection_kwargs["path"]
    async with FaultProxy(path) as first, FaultProxy(path) as second:
        topology = MovingTopology(f"redis://127.0.0.1:{first.port}")
        async with Supervisor(SystemClock()) as tasks:
            client = RedisClient(topology, tasks, timeout_seconds=20.0)
            await client.refresh_topology()
            subscriber = Subscriber(OpenedRedis(client, direct.client), linger_seconds=0.0)
            await subscriber.subscriptions.subscribe([ALICE])
            for proxy in (second, first, second):
                topology.url = f"redis://127.0.0.1:{proxy.port}"
                await client.refresh_topology()
                await subscriber.subscriptions.subscribe([ALICE, BOB])
                for channel in (ALICE, BOB):
                    await subscriber.publish(channel, f"to {channel}")
                    assert await subscriber.next() == f"to {channel}"
            await until(lambda: first.connections == 0)
            assert subscriber.subscriptions.is_synced
            await subscriber.close()


async def test_failed_subscriptions_leave_no_unread_errors(
    short_path: Path, event_loop_errors: list[str]
) -> None:
    """When subscriptions time out, every caller gets its error, and none is reported as unread."""
    with Server(short_path) as server:
        async with open_client(server.url, timeout_seconds=2.0) as client:
            subscriber = Subscriber(OpenedRedis(client, None), max_backoff_seconds=0.05)
            await subscriber.subscriptions.subscribe([ALICE])
            server.kill()
            many = [[user_channel(f"u{n}-{k}") for k in range(5)] for n in range(20)]
            calls = [asyncio.create_task(subscriber.subscriptions.subscribe(c)) for c in many]
            await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()  # a client that has disconnected
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [isinstance(r, BrokerUnavailable) for r in results[1::2]] == [True] * 10
            await asyncio.sleep(2.1)  # until the subscriptions of the cancelled calls time out
            await subscriber.close()
        del calls, results, subscriber
    gc.collect()
    assert event_loop_errors == []


@pytest.mark.slow
async def test_silent_connection_is_closed_in_time(open_redis: Any) -> None:
    """The timeouts of production notice a silent connection, and allow it less than 15 seconds."""
    timeouts = PubSubTimeouts(reply_timeout_seconds=1.5)
    assert timeouts.ping_interval_seconds + timeouts.silence_timeout_seconds < 15
    direct = await open_redis("valkey")
    path = direct.client.connection_pool.connection_kwargs["path"]
    async with FaultProxy(path) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with open_client(url, timeout_seconds=1.5) as client:
            subscriber = Subscriber(OpenedRedis(client, None))
            await subscriber.subscriptions.subscribe([ALICE])
            proxy.blackhole()
            async with asyncio.timeout(60):
                while subscriber.subscriptions.is_synced:
                    await asyncio.sleep(0.05)
            await subscriber.close()
