"""The backend on a Cluster of three and behind Sentinels keeps its promises during failovers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack

import msgspec
import pytest

from hub.backends.redis import RedisBackend
from hub.backends.redis.client import open_client
from hub.backends.redis.client.pubsub import PubSubTimeouts
from hub.backends.redis.keys import hash_tag
from hub.backends.redis.subscriptions import RedisSubscriptions
from hub.core.channel import ALL, Channel, partition_of, user_channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.fair_queue import Job
from hub.core.generation import Generation, GenerationRequest, Message, new_generation_id
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connections import Connections
from hub.engine.streams.gap_check import GapCheck
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.tasks import SystemClock, cancel_and_wait
from hub.errors import BrokerUnavailable
from hub.ports.events import FROM_START, Publication
from hub.transports.sse import SseEventEncoder
from tests.conftest import missing
from tests.doubles import FakeWriter, new_connection, until
from tests.faults import KeepingProxy
from tests.redis_backend import redis_backend
from tests.topologies import (
    ClusterOfThree,
    PrimaryAndReplica,
    SentinelSetup,
    valkey_binary,
    wait_replicated,
)

pytestmark = pytest.mark.slow  # a failover takes seconds
USERS = [user_channel(f"u{n}") for n in range(200)]


class Node:
    """The backend of one process, and the events that it received."""

    def __init__(self, backend: RedisBackend) -> None:
        self.backend = backend
        self.received: dict[Channel, list[bytes]] = {}
        self.traces: dict[Channel, str] = {}
        self.resubscribed = 0
        backend.subscriptions.listen(self._on_events, self._on_resubscribed)

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """Subscribe until it succeeds."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.backend.subscriptions.subscribe(channels)
                except BrokerUnavailable:  # a busy machine does not answer within the timeout
                    await asyncio.sleep(0.05)

    async def publish(self, channel: Channel, data: bytes, key: str | None = None) -> Position:
        """Publish until it succeeds, always with the same key."""
        async with asyncio.timeout(60):
            while True:
                try:
                    (done,) = await self.backend.events.publish(
                        [Publication(channel=channel, name="n", data=data, idempotency_key=key)]
                    )
                except BrokerUnavailable:
                    await asyncio.sleep(0.05)
                    continue
                assert done.position is not None
                return done.position

    async def read(self, channel: Channel, after: Position) -> tuple[list[bytes], str | None]:
        """Read until it succeeds."""
        async with asyncio.timeout(60):
            while True:
                try:
                    pages = await self.backend.events.read(
                        {channel: after}, max_events=1000, max_bytes=10**6
                    )
                except BrokerUnavailable:  # the connection is being replaced
                    await asyncio.sleep(0.05)
                    continue
                page = pages[channel]
                return [event.data for event in page.events], page.reset_reason

    async def until_received(self, channel: Channel, data: bytes) -> None:
        async with asyncio.timeout(60):
            while data not in self.received.get(channel, []):
                await asyncio.sleep(0.01)

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            self.received.setdefault(event.channel, []).append(event.data)
            self.traces[event.channel] = event.trace

    def _on_resubscribed(self) -> None:
        self.resubscribed += 1


OpenNode = Callable[..., Awaitable[Node]]


@pytest.fixture
async def open_node() -> AsyncIterator[OpenNode]:
    """Opens backends by URL."""
    async with AsyncExitStack() as opened:

        async def open_at(url: str, **timeouts: float) -> Node:
            client = await opened.enter_async_context(open_client(url, timeout_seconds=1.5))
            backend = redis_backend(client)
            if timeouts:
                backend.subscriptions = RedisSubscriptions(
                    client, PubSubTimeouts(reply_timeout_seconds=1.5, **timeouts)
                )
            task = asyncio.create_task(backend.subscriptions.run())

            async def end() -> None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            opened.push_async_callback(end)
            return Node(backend)

        yield open_at


@pytest.fixture(scope="module", params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> str:
    """The binary of each kind of server."""
    if request.param == "valkey":
        return valkey_binary()
    return shutil.which("redis-server") or missing("redis-server")


@pytest.fixture
def cluster(binary: str) -> Iterator[ClusterOfThree]:
    """A set-up of its own, because the test breaks it."""
    cluster = ClusterOfThree(binary)
    yield cluster
    cluster.close()


@pytest.fixture
def sentinel(binary: str) -> Iterator[SentinelSetup]:
    """A set-up of its own, because the test breaks it."""
    setup = SentinelSetup(binary)
    yield setup
    setup.close()


@pytest.fixture
def pair(binary: str) -> Iterator[PrimaryAndReplica]:
    """A set-up of its own, because the test breaks it."""
    pair = PrimaryAndReplica(binary)
    yield pair
    pair.close()


async def test_cluster_does_all_that_one_server_does(
    cluster: ClusterOfThree, open_node: OpenNode
) -> None:
    """Events reach another node, also in batches and with traces; every server has partitions."""
    publisher, subscriber = await open_node(cluster.url), await open_node(cluster.url)
    await subscriber.subscribe([*USERS, ALL])
    for channel in (*USERS, ALL):
        await publisher.publish(channel, b"1")
    for channel in (*USERS, ALL):
        await subscriber.until_received(channel, b"1")
        assert await publisher.read(channel, FROM_START) == ([b"1"], None)
    sizes = [server.ask("DBSIZE") for server in cluster.masters]
    assert all(size > 50 for size in sizes), sizes
    batch = [Publication(channel=c, name="n", data=b"2", trace="5d" * 24) for c in USERS]
    await publisher.backend.events.publish(batch)
    for channel in USERS:
        await subscriber.until_received(channel, b"2")
    assert subscriber.traces == {**dict.fromkeys(USERS, "5d" * 24), ALL: ""}
    await publisher.backend.health.check_ready()


async def test_announcement_stays_on_its_server(
    cluster: ClusterOfThree, open_node: OpenNode
) -> None:
    """With sharded pub/sub each server has the subscriptions of its own channels only."""
    node = await open_node(cluster.url)
    await node.subscribe(USERS)
    counts = [len(server.ask("PUBSUB", "SHARDCHANNELS")) for server in cluster.masters]
    assert sum(counts) == len(USERS)
    assert all(counts)
    assert [server.ask("PUBSUB", "CHANNELS") for server in cluster.masters] == [[], [], []]


async def test_generation_on_a_cluster(cluster: ClusterOfThree) -> None:
    """Record and job work, although their keys belong to different partitions."""
    async with open_client(cluster.url, timeout_seconds=30) as client:
        backend = redis_backend(client, lease_seconds=60)
        queue = backend.queue
        running = asyncio.create_task(queue.run())
        for n in range(20):
            user = f"u{n}"
            request = GenerationRequest(
                messages=[Message(role="user", content="hi")], upstream="u", model="m"
            )
            generation = Generation(
                id=new_generation_id(partition_of(user_channel(user))), user=user, request=request
            )
            await backend.generations.create(generation, "key")
            await queue.enqueue(Job(generation.id, "alice", "main"))
            lease = await queue.reserve(5.0)
            assert lease is not None
            record = await backend.generations.find(lease.generation)
            assert record is not None
            of_the_store = {"after": None, "requested_at": 0.0, "age_seconds": 0.0}
            assert msgspec.structs.replace(record, **of_the_store) == generation
            await queue.renew([lease])
            await queue.complete(lease)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_slot_moves_while_it_is_used(cluster: ClusterOfThree, open_node: OpenNode) -> None:
    """No event is lost, repeated or reset when a partition moves between events."""
    node = await open_node(cluster.url)
    channel = USERS[0]
    await node.subscribe([channel])
    before = await node.publish(channel, b"0")
    slot = cluster.masters[0].ask("CLUSTER", "KEYSLOT", hash_tag(partition_of(channel)))
    source = cluster.owner(slot)
    target = next(s for s in cluster.masters if s is not source)
    cluster.move_slot(slot, source, target)
    assert [await node.publish(channel, b"%d" % n, key=str(n)) for n in range(1, 4)]
    assert await node.read(channel, before) == ([b"1", b"2", b"3"], None)
    async with asyncio.timeout(60):
        while node.resubscribed == 0:  # the new server has acknowledged the subscription
            await asyncio.sleep(0.01)
    await node.publish(channel, b"4")
    await node.until_received(channel, b"4")


async def test_cluster_fails_over(cluster: ClusterOfThree, open_node: OpenNode) -> None:
    """When a master dies, publishing, receiving and reading go on with its replica."""
    node = await open_node(cluster.url)
    await node.subscribe(USERS)
    first = {channel: await node.publish(channel, b"0") for channel in USERS}
    wait_replicated(cluster.masters[0], cluster.replica)
    cluster.masters[0].kill()
    for channel in USERS:
        await node.publish(channel, b"1", key="1")
    for channel in USERS:
        assert await node.read(channel, first[channel]) == ([b"1"], None), channel
    for channel in USERS:
        await node.publish(channel, b"2")
        await node.until_received(channel, b"2")


async def test_sentinel_fails_over(sentinel: SentinelSetup, open_node: OpenNode) -> None:
    """When the master dies, the node finds the new one, and no replicated event is lost."""
    node = await open_node(sentinel.url)
    await node.subscribe([USERS[0]])
    first = await node.publish(USERS[0], b"0")
    wait_replicated(sentinel.master, sentinel.replica)
    sentinel.master.kill()
    await node.publish(USERS[0], b"1", key="1")
    assert await node.read(USERS[0], first) == ([b"1"], None)
    async with asyncio.timeout(60):
        while node.resubscribed == 0:
            await asyncio.sleep(0.01)
    await node.publish(USERS[0], b"2")
    await node.until_received(USERS[0], b"2")


async def test_write_that_the_replica_never_got(
    sentinel: SentinelSetup, open_node: OpenNode
) -> None:
    """A cursor behind an event that the promoted replica does not have is reset."""
    node = await open_node(sentinel.url)
    kept = await node.publish(USERS[0], b"0")
    wait_replicated(sentinel.master, sentinel.replica)
    sentinel.replica.ask("REPLICAOF", "NO", "ONE")  # it gets no later event
    lost = await node.publish(USERS[0], b"lost")
    sentinel.master.kill()
    async with asyncio.timeout(60):
        while sentinel.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "hub")[1] != (
            b"%d" % sentinel.replica.port
        ):
            await asyncio.sleep(0.05)
    await node.publish(USERS[0], b"1", key="1")
    await node.publish(USERS[0], b"2", key="2")
    assert await node.read(USERS[0], lost) == ([], "epoch")
    assert await node.read(USERS[0], kept) == ([b"1", b"2"], None)


@pytest.mark.parametrize("keeps_connections", [True, False])
@pytest.mark.parametrize("first_use", ["publish", "read"])
async def test_same_process_is_primary_again(
    pair: PrimaryAndReplica, open_node: OpenNode, keeps_connections: bool, first_use: str
) -> None:
    """A primary that was demoted, lost an event and was promoted again resets the cursors behind
    that event, also for an idle node whose connections stayed open through both changes.
    """
    first, second = pair.primary, pair.replica
    async with KeepingProxy(("127.0.0.1", first.port)) as proxy:
        idle = await open_node(
            f"redis://127.0.0.1:{proxy.port if keeps_connections else first.port}"
        )
        kept = await idle.publish(USERS[0], b"kept")
        wait_replicated(first, second)
        pair.promote(second)  # it gets no later event
        lost = await idle.publish(USERS[0], b"lost")
        accepted = proxy.accepted
        pair.replicate(first, second)
        pair.promote(first)
        await until(lambda: proxy.connected == 0)
        if first_use == "publish":
            await idle.publish(USERS[0], b"1", key="1")
        assert (await idle.read(USERS[0], lost))[1] == "epoch"
        await idle.publish(USERS[0], b"1", key="1")
        assert await idle.read(USERS[0], kept) == ([b"1"], None)
        assert await idle.read(USERS[0], lost) == ([], "epoch")
        assert proxy.accepted == accepted


async def test_heads_on_a_cluster(cluster: ClusterOfThree, open_node: OpenNode) -> None:
    """The heads of channels on all servers are read together."""
    node = await open_node(cluster.url)
    positions = {channel: await node.publish(channel, b"1") for channel in USERS}
    assert await node.backend.events.heads([*USERS, ALL]) == {**positions, ALL: None}


class Client:
    """A client of a node whose commands go to one server and whose events come from another."""

    def __init__(self, commands: Node, subscriptions: Node) -> None:
        clock, events = SystemClock(), commands.backend.events
        self.writer = FakeWriter()
        self.metrics = NodeMetrics()
        self._registry = Connections(
            events,
            subscriptions.backend.subscriptions,
            HeartbeatWheel(clock, 1000.0),
            clock,
            node="n",
            heartbeat_seconds=1000.0,
            metrics=self.metrics,
        )
        self._check = GapCheck(
            events, subscriptions.backend.subscriptions, self._registry, clock, self.metrics
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Client:
        encoder = SseEventEncoder(chunked=False)
        connection = new_connection(
            "u0", [USERS[0], ALL], self.writer, SystemClock(), encoder=encoder
        )
        self._registry.attach(connection, {})
        await self.until_received([])
        self._tasks.append(asyncio.create_task(self._check.run()))
        return self

    async def __aexit__(self, *error: object) -> None:
        await cancel_and_wait(self._tasks)

    async def until_received(self, data: list[str]) -> None:
        """Return when the client has received these events after `hub.open`."""
        async with asyncio.timeout(60):
            while not self.writer.events or self.writer.data != data:
                await asyncio.sleep(0.01)


async def test_subscription_at_a_server_that_has_lost_its_role(
    pair: PrimaryAndReplica, open_node: OpenNode
) -> None:
    """The last event of a quiet channel arrives, although nothing announces it to the node, and
    a lost log is a reset.
    """
    old = await open_node(f"redis://127.0.0.1:{pair.primary.port}")
    pair.promote(pair.replica)
    new = await open_node(f"redis://127.0.0.1:{pair.replica.port}")
    async with Client(commands=new, subscriptions=old) as client:
        await new.publish(USERS[0], b"last")
        await client.until_received(["last"])
        assert client.metrics.gaps_found[()] == 1
        pair.replica.ask("FLUSHALL")
        await until(lambda: client.writer.events[-1].name == "hub.reset")


async def test_connection_that_has_lost_its_subscriptions(
    pair: PrimaryAndReplica, open_node: OpenNode
) -> None:
    """A proxy has replaced the connection to the server without a notice: the node notices that it
    is not subscribed any more, and subscribes again.
    """
    async with KeepingProxy(("127.0.0.1", pair.primary.port)) as proxy:
        node = await open_node(f"redis://127.0.0.1:{proxy.port}", ping_interval_seconds=0.1)
        await node.subscribe([USERS[0]])
        pair.primary.ask("CLIENT", "KILL", "TYPE", "pubsub")
        async with asyncio.timeout(60):
            while node.resubscribed == 0:
                await asyncio.sleep(0.01)
        await node.publish(USERS[0], b"1")
        await node.until_received(USERS[0], b"1")


async def test_subscriptions_that_are_restored(
    cluster: ClusterOfThree, open_node: OpenNode
) -> None:
    """Only the connection of the channel is replaced; then all of its channels arrive again."""
    node = await open_node(cluster.url)
    await node.subscribe(USERS)
    node.backend.subscriptions.restore([USERS[0]])
    async with asyncio.timeout(60):
        while node.resubscribed == 0:
            await asyncio.sleep(0.01)
    for channel in USERS:
        await node.publish(channel, b"1")
        await node.until_received(channel, b"1")
    assert node.backend.subscriptions.disconnects == 1
