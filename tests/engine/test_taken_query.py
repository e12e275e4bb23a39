"""Which events the connections of a user have taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from hub.core.channel import Channel, topic_channel, user_channel
from hub.core.cursor import Position
from hub.engine.streams.taken_query import TakenQuery
from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import BrokerUnavailable
from hub.ports.events import Publication
from hub.testing.backend import MemoryBackend
from tests.http.kit import Hub, running_hub

ALICE = user_channel("alice")
NEWS = topic_channel("news")


async def publish(backend: MemoryBackend, channel: Channel = ALICE) -> Position:
    """Publish an event and return its position."""
    (published,) = await backend.events.publish([Publication(channel=channel, name="n", data=b"1")])
    assert published.position is not None
    return published.position


@asynccontextmanager
async def running_query(hub: Hub) -> AsyncIterator[TakenQuery]:
    """A worker that asks, and the node that replies."""
    clock = SystemClock()
    query = TakenQuery(hub.backend.commands, clock)
    async with Supervisor(clock) as tasks:
        tasks.start("state", hub.node.connection_query.keep_node_state)
        tasks.start("subscriptions", hub.backend.subscriptions.run)
        tasks.start("replies", hub.node.taken_replies.run)
        tasks.start("query", query.run)
        async with asyncio.timeout(60):
            while not await hub.backend.commands.node_states():
                await asyncio.sleep(0)
        yield query


async def test_taken_by_an_open_connection() -> None:
    """An event is taken while a connection that was sent it is open, and only then."""
    async with running_hub() as hub, running_query(hub) as query:
        before = await publish(hub.backend)
        async with hub.stream("/sse/connect/alice") as stream:
            position = await publish(hub.backend)
            await stream.next()
            assert await query.is_taken("alice", ALICE, position)
            assert not await query.is_taken("alice", ALICE, before)  # it began after this one
            assert not await query.is_taken("bob", ALICE, position)
            assert not await query.is_taken("alice", NEWS, position)
            later = msgspec.structs.replace(position, offset=position.offset + 1)
            assert not await query.is_taken("alice", ALICE, later)
            other = msgspec.structs.replace(position, epoch="zzzzz")
            assert not await query.is_taken("alice", ALICE, other)
        async with asyncio.timeout(60):
            while hub.node.connections.by_user("alice"):
                await asyncio.sleep(0)
        assert not await query.is_taken("alice", ALICE, position)


@pytest.mark.parametrize(
    "path", ["/sse/connect/alice?topics=news", "/poll/connect/alice?topics=news"]
)
async def test_taken_after_a_reconnect(path: str) -> None:
    """A connection that continues behind an event has taken it; one without the topic has not."""
    async with running_hub() as hub, running_query(hub) as query:
        async with hub.stream("/sse/connect/alice?topics=news") as stream:
            own, topic = await publish(hub.backend), await publish(hub.backend, NEWS)
            await stream.next()
            cursor = (await stream.next()).id
        async with asyncio.timeout(60):
            while hub.node.connections.by_user("alice"):
                await asyncio.sleep(0)
        task = asyncio.ensure_future(hub.ask("GET", f"{path}&cursor={cursor}").__aenter__())
        async with asyncio.timeout(60):
            while not await query.is_taken("alice", ALICE, own):
                await asyncio.sleep(0)
        assert await query.is_taken("alice", NEWS, topic)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().close()


async def test_stream_of_one_answer() -> None:
    """The stream of one answer does not show other events, so it takes none."""
    async with running_hub() as hub, running_query(hub) as query:
        status, started = await hub.call("POST", "/generations?user=alice", json={"prompt": "x"})
        assert status == 202
        path = f"/generations/{started['generation']}?user=alice"
        async with hub.stream(path, headers={"Accept": "text/event-stream"}):
            position = await publish(hub.backend)
            assert not await query.is_taken("alice", ALICE, position)


async def test_many_callers_share_a_request() -> None:
    """The questions of one moment go to the nodes together, and each gets its answer."""
    async with running_hub() as hub, running_query(hub) as query:
        async with hub.stream("/sse/connect/alice") as stream:
            position = await publish(hub.backend)
            await stream.next()
            sent: list[bytes] = []
            hub.backend.commands.listen(sent.append, lambda: None)
            users = ["alice", "bob"] * 100
            answers = await asyncio.gather(
                *(query.is_taken(user, ALICE, position) for user in users)
            )
        assert answers == [True, False] * 100
        assert len([each for each in sent if b'"taken"' in each]) == 1


async def test_no_node() -> None:
    """Without a node that is alive nothing is taken."""
    backend, clock = MemoryBackend(), SystemClock()
    query = TakenQuery(backend.commands, clock)
    async with Supervisor(clock) as tasks:
        tasks.start("query", query.run)
        assert not await query.is_taken("alice", ALICE, Position("aaaaa", 1))


async def test_silent_node() -> None:
    """A node that does not reply in time has taken nothing."""
    backend, clock = MemoryBackend(), SystemClock()
    state = {"node": "n", "since": 1, "seen_at": 1, "connections": 0, "users": 0, "draining": False}
    await backend.commands.put_node_state("n", msgspec.json.encode(state))
    query = TakenQuery(backend.commands, clock, reply_timeout_seconds=0.05)
    async with Supervisor(clock) as tasks:
        tasks.start("query", query.run)
        assert not await query.is_taken("alice", ALICE, Position("aaaaa", 1))


async def test_broker_away() -> None:
    """Without a broker every caller gets the error, and the next call works again."""

    class Bus(type(MemoryBackend().commands)):  # type: ignore[misc]
        is_away = True

        async def node_states(self) -> object:
            if self.is_away:
                raise BrokerUnavailable("away")
            return ()

    bus, clock = Bus(), SystemClock()
    query = TakenQuery(bus, clock)
    async with Supervisor(clock) as tasks:
        tasks.start("query", query.run)
        with pytest.raises(BrokerUnavailable):
            await query.is_taken("alice", ALICE, Position("aaaaa", 1))
        bus.is_away = False
        assert not await query.is_taken("alice", ALICE, Position("aaaaa", 1))
