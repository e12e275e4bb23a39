"""Events whose announcement got lost arrive in time, also when no later event shows the gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

import pytest

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.cursor import Position, is_behind
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connections import Connections
from hub.engine.streams.gap_check import GapCheck
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.tasks import cancel_and_wait
from hub.ports.events import Publication
from hub.transports.sse import SseEventEncoder
from tests.doubles import FakeClock, FakeWriter, GatedBackend, new_connection, settled

ALICE = user_channel("alice")
NEWS = topic_channel("news")
MAX_STALE_SECONDS = 10  # the promise of docs/concepts/delivery.md
ENCODER = SseEventEncoder(chunked=False)


class Node:
    """The connections of a node on a fake clock, and the check."""

    def __init__(self) -> None:
        self.backend = GatedBackend()
        self.clock = FakeClock()
        self.metrics = NodeMetrics()
        self.restored: list[Collection[Channel]] = []
        self.backend.subscriptions.restore = self.restored.append  # type: ignore[assignment]
        self.connections = Connections(
            self.backend.events,
            self.backend.subscriptions,
            HeartbeatWheel(self.clock, 1000.0),
            self.clock,
            node="n",
            heartbeat_seconds=1000.0,
            metrics=self.metrics,
        )
        self.check = GapCheck(
            self.backend.events,
            self.backend.subscriptions,
            self.connections,
            self.clock,
            self.metrics,
        )

    async def connect(self, user: str = "alice", topics: Sequence[Channel] = ()) -> FakeWriter:
        writer = FakeWriter()
        connection = new_connection(
            user, [user_channel(user), ALL, *topics], writer, self.clock, encoder=ENCODER
        )
        self.connections.attach(connection, {})
        await settled()
        return writer

    async def publish(self, data: str, channel: Channel = ALICE, *, lost: bool = False) -> None:
        self.backend.loses_events = lost
        event = Publication(channel=channel, name="n", data=f'"{data}"'.encode())
        await self.backend.events.publish([event])
        self.backend.loses_events = False

    @property
    def age(self) -> float:
        """The age of the last complete check in the metrics."""
        ((_, age),) = self.metrics.gap_check_age.samples()
        assert isinstance(age, float)
        return age

    @property
    def gaps(self) -> float:
        """The number of gaps in the metrics."""
        return sum(self.metrics.gaps_found.values())


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node whose check runs."""
    node = Node()
    task = asyncio.create_task(node.check.run())
    yield node
    await cancel_and_wait([task])


async def test_last_event_of_a_quiet_channel(node: Node) -> None:
    """An event that was never announced reaches every connection within the promised time."""
    writers = [await node.connect(), await node.connect(), await node.connect("bob")]
    await node.clock.advance(3.0)
    await node.publish("1", lost=True)
    await node.publish("2", ALL, lost=True)
    await node.clock.advance(MAX_STALE_SECONDS)
    assert [set(writer.data) for writer in writers] == [{"1", "2"}] * 2 + [{"2"}]
    assert node.gaps == 2


async def test_every_moment_of_the_interval(node: Node) -> None:
    """The bound holds wherever in the interval the event gets lost, and for later events too."""
    writer = await node.connect()
    expected = []
    for n in range(23):
        await node.clock.advance(0.7)
        await node.publish(str(n), lost=True)
        await node.clock.advance(MAX_STALE_SECONDS)
        expected.append(str(n))
        assert writer.data == expected
        await node.publish(f"live {n}")
        expected.append(f"live {n}")
        assert writer.data == expected


async def test_more_channels_than_one_batch(node: Node) -> None:
    """Channels of every batch are compared."""
    topics = [topic_channel(f"t{n}") for n in range(30)]
    writers = [await node.connect(f"u{n}", topics) for n in range(30)]
    users = [user_channel(f"u{n}") for n in range(2000)]
    writers += [await node.connect(f"u{n}") for n in range(30, 2000, 20)]
    for channel in (*users, *topics):
        await node.publish("lost", channel, lost=True)
    await node.clock.advance(MAX_STALE_SECONDS)
    assert [len(writer.data) for writer in writers] == [31] * 30 + [1] * 99


async def test_unsynced_connection(node: Node) -> None:
    """A client whose socket was full gets the event as well."""
    writer = await node.connect()
    writer.fill()
    await node.publish("1")
    await node.publish("2", lost=True)
    await node.clock.advance(MAX_STALE_SECONDS)
    writer.empty()
    await settled()
    assert writer.data == ["1", "2"]


async def test_deleted_log_is_a_reset(node: Node) -> None:
    """After a deletion of all data a connected client is told, although no event follows."""
    writer = await node.connect()
    await node.publish("1")
    node.backend.events.begin_new_epoch(ALICE)
    await node.clock.advance(MAX_STALE_SECONDS)
    assert [event.name for event in writer.events] == ["hub.open", "n", "hub.reset"]


async def test_channels_without_gaps_are_left_alone(node: Node) -> None:
    """Nothing is read while everything arrives, whether or not a channel has events."""
    await node.connect()
    await node.connect(topics=[NEWS])
    reads = 0
    read = node.backend.events.read

    async def count_reads(*arguments: object, **options: object) -> object:
        nonlocal reads
        reads += 1
        return await read(*arguments, **options)  # type: ignore[arg-type]

    node.backend.events.read = count_reads  # type: ignore[assignment]
    for n in range(50):
        await node.publish(str(n), NEWS)
        await node.clock.advance(1.0)
    assert (reads, node.gaps, node.restored) == (0, 0, [])


async def test_announcement_on_its_way_is_no_gap(node: Node) -> None:
    """An event that is in the log and arrives a moment later causes no reading of the log."""
    writer = await node.connect()
    await node.clock.advance(4.9)
    await node.publish("1", lost=True)
    log = await node.backend.events.read({ALICE: Position("", 0)}, max_events=1, max_bytes=1)
    await node.clock.advance(0.2)  # the heads are read
    node.backend.subscriptions.notify(list(log[ALICE].events))
    await node.clock.advance(MAX_STALE_SECONDS)
    assert (writer.data, node.gaps) == (["1"], 0)


async def test_subscriptions_that_lose_events_again_are_restored(node: Node) -> None:
    """One gap is filled; gaps in two rounds restore the subscriptions of the channels."""
    await node.connect()
    await node.publish("1", lost=True)
    await node.clock.advance(MAX_STALE_SECONDS)
    assert node.restored == []
    await node.publish("2", lost=True)
    await node.clock.advance(MAX_STALE_SECONDS)
    assert node.restored == [[ALICE]]


async def test_rare_gaps_restore_nothing(node: Node) -> None:
    """Gaps with minutes between them are only filled."""
    await node.connect()
    for _ in range(3):
        await node.publish("1", lost=True)
        await node.clock.advance(120)
    assert (node.gaps, node.restored) == (3, [])


async def test_broker_that_is_away(node: Node) -> None:
    """The check goes on when the broker is back; the metric tells how long it has failed."""
    writer = await node.connect()
    await node.publish("1", lost=True)
    node.backend.is_unavailable = True
    await node.clock.advance(60)
    assert node.age >= 60
    node.backend.is_unavailable = False
    await node.clock.advance(MAX_STALE_SECONDS)
    assert writer.data == ["1"]
    assert node.age < MAX_STALE_SECONDS


@pytest.mark.parametrize(
    ("position", "head", "expected"),
    [
        (("a", 5), ("a", 5), False),
        (("a", 4), ("a", 5), True),
        (("a", 6), ("a", 5), False),  # announced after the head was read
        (("a", 5), ("b", 5), True),
        (("a", 0), None, False),
        (("a", 1), None, True),
    ],
)
def test_position_and_head(
    position: tuple[str, int], head: tuple[str, int] | None, expected: bool
) -> None:
    """A position is behind a newer head, another epoch, and a log that is gone."""
    assert is_behind(Position(*position), Position(*head) if head else None) is expected
