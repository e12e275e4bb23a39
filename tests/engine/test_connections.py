"""Join, replay, live, disconnect: no event is missing or sent twice, at every interleaving."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position, parse_cursor
from hub.core.event import Event
from hub.engine.streams.connection import Connection
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.ports.events import FROM_START, Publication
from hub.transports.sse import SseEventEncoder
from tests.doubles import FakeClock, FakeWriter, Gate, GatedBackend, new_connection, settled, until

ALICE = user_channel("alice")
ENCODER = SseEventEncoder(chunked=False)


class Node:
    """The connections of a node on a gated backend."""

    def __init__(self) -> None:
        self.backend = GatedBackend()
        self.clock = FakeClock()
        self.wheel = HeartbeatWheel(self.clock, 8.0)
        self.registry = Connections(
            self.backend.events,
            self.backend.subscriptions,
            self.wheel,
            self.clock,
            node="n",
            heartbeat_seconds=8.0,
        )
        self.tasks: list[asyncio.Task[CloseReason]] = []
        self.connections: list[Connection] = []
        self.writers: list[FakeWriter] = []

    def connect(
        self,
        cursor: Mapping[Channel, Position] | None = None,
        *,
        user: str = "alice",
        topics: Sequence[str] = (),
        outbox_max_frames: int = 256,
    ) -> FakeWriter:
        writer = FakeWriter()
        connection = new_connection(
            user,
            [user_channel(user), ALL, *map(topic_channel, topics)],
            writer,
            self.clock,
            connection_id=f"c{len(self.connections)}",
            encoder=ENCODER,
            outbox_max_frames=outbox_max_frames,
            outbox_max_bytes=10**6,
        )
        self.connections.append(connection)
        self.writers.append(writer)
        self.tasks.append(
            asyncio.create_task(self.registry.attach_and_wait(connection, cursor or {}))
        )
        return writer

    async def connect_live(self, **options: Any) -> FakeWriter:
        writer = self.connect(**options)
        await until(lambda: bool(writer.events) and not self.connections[-1].is_buffering)
        return writer

    async def publish(
        self, *data: object, channel: Channel = ALICE, ephemeral: bool = False
    ) -> None:
        await self.backend.events.publish(
            [
                Publication(
                    channel=channel, name="e", data=json.dumps(each).encode(), ephemeral=ephemeral
                )
                for each in data
            ]
        )

    async def head(self) -> Position:
        return (await self.backend.events.read({ALICE: None}, max_events=1, max_bytes=1))[
            ALICE
        ].head


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node; its clients disconnect at the end."""
    node = Node()
    yield node
    for task in node.tasks:
        task.cancel()
    await asyncio.gather(*node.tasks, return_exceptions=True)
    assert len(node.registry) == 0


@pytest.mark.parametrize(
    "gate_name", ["before_subscribe", "after_subscribe", "before_read", "after_read"]
)
@pytest.mark.parametrize("page", [1, 150, 450])
async def test_published_while_joining(node: Node, gate_name: str, page: int) -> None:
    """Whatever step the join waits for, events published meanwhile are sent once and in order."""
    await node.publish("seen")
    cursor = {ALICE: await node.head()}
    before = [f"missed {n}" for n in range(page)]
    await node.publish(*before)
    gate: Gate = getattr(node.backend, gate_name)
    gate.close()
    writer = node.connect(cursor)
    await until(lambda: gate.waiting > 0)
    await node.publish("meanwhile 1", "meanwhile 2")
    gate.open()
    await until(lambda: not node.connections[0].is_buffering)
    await node.publish("live")
    assert writer.data == [*before, "meanwhile 1", "meanwhile 2", "live"]


async def test_published_between_pages(node: Node) -> None:
    """Events that are published during a replay follow it."""
    await node.publish(*range(500))
    gate = node.backend.after_read
    writer = node.connect({ALICE: FROM_START})
    for n in range(3):
        gate.close()
        await until(lambda: gate.waiting > 0 or not node.connections[0].is_buffering)
        await node.publish(f"meanwhile {n}")
        gate.open()
        await settled()
    await until(lambda: not node.connections[0].is_buffering)
    assert writer.data == [*map(str, range(500)), "meanwhile 0", "meanwhile 1", "meanwhile 2"]


async def test_more_than_can_wait_while_joining(node: Node) -> None:
    """Events that do not fit into the buffer are read from the log."""
    node.backend.after_read.close()
    writer = node.connect()
    await until(lambda: node.backend.after_read.waiting > 0)
    await node.publish(*range(700))
    node.backend.after_read.open()
    await until(lambda: not node.connections[0].is_buffering)
    await node.publish("live")
    assert writer.data == [*map(str, range(700)), "live"]


async def test_ephemeral_event_never_comes_before_the_opening(node: Node) -> None:
    """hub.open is the first event, whatever is published during the join."""
    node.backend.before_read.close()
    writer = node.connect()
    await until(lambda: node.backend.before_read.waiting > 0)
    await node.publish("now", ephemeral=True)
    node.backend.before_read.open()
    await until(lambda: not node.connections[0].is_buffering)
    assert [event.name for event in writer.events] == ["hub.open", "e"]
    assert writer.data == ["now"]


async def test_lost_announcements_are_filled_from_the_log(node: Node) -> None:
    """The next event that arrives reveals the gap, and the log fills it."""
    writer = await node.connect_live()
    await node.publish(1)
    node.backend.loses_events = True
    await node.publish(2, 3)
    node.backend.loses_events = False
    await node.publish(4)
    await until(lambda: len(writer.data) == 4)
    await node.publish(5)
    assert writer.data == ["1", "2", "3", "4", "5"]


async def test_reconnection_is_recovered_without_a_further_event(node: Node) -> None:
    """After a reconnection every connection reads the log, even if nothing more is published."""
    writers = [await node.connect_live() for _ in range(50)]
    node.backend.loses_events = True
    await node.publish(1, 2)
    node.backend.loses_events = False
    node.registry.fill_gaps()
    await until(lambda: all(writer.data == ["1", "2"] for writer in writers))


async def test_second_break_while_filling(node: Node) -> None:
    """A second disconnect while the log is being read loses nothing."""
    writer = await node.connect_live()
    node.backend.loses_events = True
    await node.publish(1)
    node.backend.after_read.close()
    node.registry.fill_gaps()
    await until(lambda: node.backend.after_read.waiting > 0)
    await node.publish(2)
    node.registry.fill_gaps()
    node.backend.loses_events = False
    node.backend.after_read.open()
    await until(lambda: writer.data == ["1", "2"])


async def test_new_epoch_while_live_is_a_reset(node: Node) -> None:
    """When the broker comes back empty, the client gets one reset and then live events."""
    writer = await node.connect_live()
    await node.publish(1)
    node.backend.events.begin_new_epoch(ALICE)
    await node.publish(2, 3)
    await until(lambda: not node.connections[0].is_buffering)
    await node.publish(4)
    names = [event.name for event in writer.events]
    assert names.count("hub.reset") == 1
    assert writer.data[-1] == "4"


async def test_new_epoch_at_the_next_offset_is_a_reset(node: Node) -> None:
    """The next offset in another epoch does not continue the stream."""
    writer = await node.connect_live()
    await node.publish(1)
    node.backend.events.begin_new_epoch(ALICE)
    node.backend.loses_events = True
    await node.publish("lost")
    node.backend.loses_events = False
    await node.publish("second of the new epoch")
    await until(lambda: not node.connections[0].is_buffering)
    assert [event.name for event in writer.events] == ["hub.open", "e", "hub.reset"]


@pytest.mark.parametrize("is_synced", [True, False])
async def test_new_epoch_that_continues_needs_no_read(node: Node, is_synced: bool) -> None:
    """Live events of an epoch that continues the present one follow without a read of the log."""
    writer = await node.connect_live()
    await node.publish("old")
    connection = node.connections[0]
    if not is_synced:
        connection.leave_sync()
    before = connection.positions[ALICE]
    first, second = (Position("other", before.offset + n) for n in (1, 2))
    node.registry.deliver(
        [
            Event(ALICE, "e", b'"new"', first, continues=("older", before.epoch)),
            Event(ALICE, "e", b'"next"', second),
        ]
    )
    assert node.registry.recovering == 0
    assert writer.data == ["old", "new", "next"]
    assert connection.is_synced
    assert parse_cursor(writer.events[-1].id, [ALICE, ALL])[ALICE] == second


@pytest.mark.parametrize("is_synced", [True, False])
async def test_new_epoch_that_continues_from_another_offset(node: Node, is_synced: bool) -> None:
    """A client with events that the new epoch does not have is reset by the log."""
    writer = await node.connect_live()
    await node.publish("saved", "lost")
    if not is_synced:
        node.connections[0].leave_sync()
    at = node.connections[0].positions[ALICE]
    node.backend.events.begin_new_epoch(ALICE)
    event = Event(ALICE, "e", b"1", Position("other", at.offset), continues=(at.epoch,))
    node.registry.deliver([event])
    await until(lambda: not node.connections[0].is_buffering)
    assert [event.name for event in writer.events] == ["hub.open", "e", "e", "hub.reset"]


async def test_connection_that_read_ahead_of_the_announcement(node: Node) -> None:
    """A connection that is ahead of its channel state stays unsynced until the state reaches it."""
    first = await node.connect_live()
    node.backend.loses_events = True
    await node.publish("lost")
    node.backend.loses_events = False
    ahead = await node.connect_live()
    assert [c.is_synced for c in node.connections] == [True, False]
    await node.publish("received")
    await until(lambda: first.data == ["lost", "received"])
    assert ahead.data == ["received"]
    await node.publish("by all")
    assert [c.is_synced for c in node.connections] == [True, True]
    assert first.data == ["lost", "received", "by all"]
    assert ahead.data == ["received", "by all"]


async def test_only_the_reset_itself_moves_the_cursor_past_what_was_lost(node: Node) -> None:
    """A client that is cut off before `hub.reset` must get it after it reconnects: until then every
    `id:`, also that of `hub.open`, contains the old position of that channel.
    """
    await node.publish("one", "two")
    await node.publish("three", channel=ALL)
    lost = {ALICE: Position("aaaaa", 7), ALL: Position("bbbbb", 9)}
    writer = node.connect(lost)
    await until(lambda: bool(node.connections) and not node.connections[0].is_buffering)
    opened, *resets = writer.events
    assert json.loads(opened.data)["replayed"] == 0
    assert [event.name for event in resets] == ["hub.reset", "hub.reset"]
    assert parse_cursor(opened.id, [ALICE, ALL]) == lost
    now_at = dict(lost)
    for reset in resets:
        channel = Channel(json.loads(reset.data)["channel"])
        now_at[channel] = node.connections[0].positions[channel]
        assert parse_cursor(reset.id, [ALICE, ALL]) == now_at


async def test_several_connections_get_it_once_each(node: Node) -> None:
    """Three tabs get one event each."""
    writers = [await node.connect_live() for _ in range(3)]
    await node.publish("x")
    assert [writer.data for writer in writers] == [["x"]] * 3


async def test_last_one_unsubscribes(node: Node) -> None:
    """A channel is unsubscribed when its last connection ends, and not before."""
    await node.connect_live()
    await node.connect_live()
    node.tasks[0].cancel()
    await until(node.tasks[0].done)
    assert node.backend.unsubscribed == []
    node.tasks[1].cancel()
    await until(node.tasks[1].done)
    assert sorted(node.backend.unsubscribed) == sorted([ALICE, ALL])


async def test_client_that_disconnects_while_joining(node: Node) -> None:
    """A client that disconnects at any step of the join leaves no state behind."""
    gates = [node.backend.before_subscribe, node.backend.after_subscribe]
    gates += [node.backend.before_read, node.backend.after_read]
    for gate in gates:
        gate.close()
        node.connect()
        await until(lambda gate=gate: gate.waiting > 0)  # type: ignore[misc]
        node.tasks[-1].cancel()
        await until(node.tasks[-1].done)
        gate.open()
        gate.waiting = 0
        assert len(node.registry) == 0
    assert node.backend.unsubscribed.count(ALICE) == len(gates)


async def test_full_socket_waits_in_the_outbox(node: Node) -> None:
    """Events that do not fit into the socket follow in order when it has room."""
    writer = await node.connect_live()
    writer.fill()
    await node.publish(1, 2, 3)
    await settled()
    assert writer.data == []
    writer.empty()
    await until(lambda: writer.data == ["1", "2", "3"])
    await node.publish(4)
    assert writer.data == ["1", "2", "3", "4"]


async def test_slow_client_is_closed_and_the_others_continue(node: Node) -> None:
    """A full outbox closes its connection; the others get every event."""
    slow = node.connect(outbox_max_frames=5)
    await until(lambda: not node.connections[0].is_buffering)
    quick = await node.connect_live()
    slow.fill()
    for n in range(10):
        await node.publish(n)
    await until(node.tasks[0].done)
    assert node.tasks[0].result() is CloseReason.SLOW
    assert slow.aborted
    assert len(quick.data) == 10
    assert len(node.registry) == 1


async def test_replay_waits_for_a_slow_client(node: Node) -> None:
    """A long replay is read no faster than the client takes it, and does not close it as slow."""
    await node.publish(*range(900))
    writer = node.connect({ALICE: FROM_START}, outbox_max_frames=250)
    await until(lambda: bool(writer.events))
    for _ in range(5):
        writer.fill()
        await settled()
        writer.empty()
        await settled()
    await until(lambda: not node.connections[0].is_buffering)
    assert writer.data == [str(n) for n in range(900)]


async def test_drain_ends_all_and_refuses_new_ones(node: Node) -> None:
    """hub.bye is the last event of each connection, and of new ones."""
    writers = [await node.connect_live() for _ in range(3)]
    await node.registry.drain(0.0, asyncio.Event())
    late = node.connect()
    await until(lambda: all(task.done() for task in node.tasks))
    assert {task.result() for task in node.tasks} == {CloseReason.DRAINING}
    assert [writer.events[-1].name for writer in (*writers, late)] == ["hub.bye"] * 4
    await node.publish("after")
    assert all(writer.data == [] for writer in writers)


async def test_broker_away_at_the_join(node: Node) -> None:
    """The client is asked to reconnect."""
    node.backend.is_unavailable = True
    writer = node.connect()
    await until(node.tasks[0].done)
    assert node.tasks[0].result() is CloseReason.BROKER_AWAY
    assert json.loads(writer.events[-1].data)["reconnect"] is True


async def test_heartbeat_after_silence_only(node: Node) -> None:
    """Eight seconds without a byte lead to one comment line; a busy connection gets none."""
    ticking = asyncio.create_task(node.wheel.run())
    silent, busy = await node.connect_live(user="bob"), await node.connect_live()
    for n in range(5):
        await node.clock.advance(2.0)
        await node.publish(n)
    assert silent.written.count(b": hb\n") == 1
    assert busy.written.count(b": hb\n") == 0
    await node.clock.advance(8.5)
    assert busy.written.count(b": hb\n") == 1
    assert silent.written.count(b": hb\n") == 2
    assert len(busy.data) == 5  # the comment breaks no event
    ticking.cancel()


async def test_heartbeats_of_a_client_with_a_short_timeout(node: Node) -> None:
    """A connection may have a shorter interval than the node's, in the same wheel."""
    early, usual = await node.connect_live(user="bob"), await node.connect_live()
    node.connections[0].heartbeat_seconds = 4.0
    gaps, before = list[float](), node.clock.now()
    for _ in range(100):
        beats = early.written.count(b": hb\n")
        node.clock._now += 0.5
        node.wheel.tick()
        if early.written.count(b": hb\n") > beats:
            gaps.append(node.clock.now() - before)
            before = node.clock.now()
    assert len(gaps) >= 10
    assert all(gap <= 4.5 for gap in gaps[1:])
    assert usual.written.count(b": hb\n") in (5, 6)


async def test_heartbeats_take_one_write_each(node: Node) -> None:
    """A thousand idle connections take one write each in a heartbeat time, and no task."""
    tasks = len(asyncio.all_tasks())
    writers = [node.connect() for _ in range(1000)]
    await until(lambda: all(not connection.is_buffering for connection in node.connections))
    assert len(asyncio.all_tasks()) == tasks + 1000  # the tasks of the test itself
    writes = sum(writer.writes for writer in writers)
    for _ in range(17):
        node.clock._now += 0.5
        node.wheel.tick()
    assert sum(writer.writes for writer in writers) == writes + 1000


async def test_concurrent_joins_are_limited(node: Node) -> None:
    """Few joins use the broker at once; the others wait where no timeout runs."""
    node.backend.before_subscribe.close()
    writers = [node.connect() for _ in range(100)]
    await settled()
    assert node.backend.before_subscribe.waiting == 64
    node.backend.before_subscribe.open()
    await until(lambda: all(writer.events for writer in writers))


async def test_gap_waits_for_the_broker(node: Node) -> None:
    """The connection stays open while the broker is away, and recovers afterwards."""
    writer = await node.connect_live()
    await node.publish("seen")
    node.backend.loses_events = True
    await node.publish("missed")
    node.backend.loses_events = False
    node.backend.is_unavailable = True
    node.registry.fill_gaps()
    await settled()
    for _ in range(5):
        await node.clock.advance(2.0)
    assert (writer.data, node.connections[0].close_reason) == (["seen"], None)
    node.backend.is_unavailable = False
    await node.clock.advance(2.0)
    await until(lambda: not node.connections[0].is_buffering)
    assert writer.data == ["seen", "missed"]


async def test_buffered_events_are_bounded_in_bytes(node: Node) -> None:
    """The buffer of live events is bounded; the other events are read from the log."""
    gate = node.backend.after_read
    gate.close()
    writer = node.connect({ALICE: FROM_START})
    await until(lambda: gate.waiting > 0)
    large = ["x" * 300_000 for _ in range(10)]
    await node.publish(*large)
    buffered = node.connections[0]._buffered
    assert buffered is not None
    assert len(buffered) == 4
    gate.open()
    await until(lambda: not node.connections[0].is_buffering)
    assert writer.data == large


async def test_live_connections_are_synced(node: Node) -> None:
    """A connection that has everything its channels have needs no positions of its own."""
    writer = await node.connect_live()
    (connection,) = node.connections
    assert connection.is_synced
    before = dict(connection.positions)
    await node.publish(1, 2)
    await node.publish("x", channel=ALL)
    assert connection.is_synced
    assert connection.positions[ALICE].offset == before[ALICE].offset + 2
    assert connection.events == 3
    await node.connect_live()
    await node.publish(3)
    assert [c.events for c in node.connections] == [4, 1]
    connection.leave_sync()
    assert connection.events == 4
    assert parse_cursor(writer.events[-1].id, [ALICE, ALL]) == connection.positions


async def test_each_client_gets_its_own_cursor(node: Node) -> None:
    """Users with different topics share events, and each id is the position of its client."""
    await node.publish(*range(100), channel=user_channel("bob"))  # a longer own part than alice's
    writers = [
        await node.connect_live(user="alice"),
        await node.connect_live(user="bob"),
        await node.connect_live(user="alice", topics=["t"]),
        await node.connect_live(user="bob", topics=["s", "t"]),
    ]
    topic = topic_channel("t")
    for channel in (ALL, topic, ALICE, ALL, topic, user_channel("bob"), topic, ALL):
        await node.publish(str(channel), str(channel), channel=channel)
        await node.publish("passing", channel=channel, ephemeral=True)
    for writer, connection in zip(writers, node.connections, strict=True):
        assert connection.is_synced
        at = parse_cursor(writer.events[0].id, connection.channels)
        seen: dict[Channel, int] = dict.fromkeys(connection.channels, 0)
        for event in writer.events[1:]:
            if event.data == "passing":
                continue
            channel = Channel(event.data)
            seen[channel] += 1
            at[channel] = Position(at[channel].epoch, at[channel].offset + 1)
            assert parse_cursor(event.id, connection.channels) == at
        assert seen == {
            c: 2 * [ALL, topic, ALICE, ALL, topic, user_channel("bob"), topic, ALL].count(c)
            for c in connection.channels
        }


async def test_a_synced_connection_keeps_no_empty_tables(node: Node) -> None:
    """It shares its empty dicts with all others, and the state of its channel frees a table."""
    await node.connect_live()
    (connection,) = node.connections
    own = connection._own_channel
    assert own is not None
    assert sys.getsizeof(own.unsynced) == sys.getsizeof({})
    assert id(connection._positions) == id(connection._cursor_parts)
    with pytest.raises(TypeError):
        connection._positions[ALICE] = connection.positions[ALICE]


async def test_data_that_looks_like_the_cursor_placeholder(node: Node) -> None:
    """NULs in a string are data, also in shared frames."""
    writer = await node.connect_live()
    await node.publish("a" + "\0" * 40 + "b", channel=ALL)
    assert node.connections[0].is_synced
    assert writer.data == ["a" + "\0" * 40 + "b"]


async def test_many_are_one_encoding(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is encoded once for all that share its channels, and written once to each."""
    writers = [await node.connect_live(user=f"u{n}") for n in range(200)]
    encode, frame = Mock(wraps=ENCODER.encode), Mock(wraps=ENCODER.frame)
    monkeypatch.setattr(ENCODER, "encode", encode)
    monkeypatch.setattr(ENCODER, "frame", frame)
    writes = [writer.writes for writer in writers]
    await node.publish("to all", channel=ALL)
    assert [writer.writes for writer in writers] == [n + 1 for n in writes]
    assert (encode.call_count, frame.call_count) == (1, 1)
    assert all(writer.data == ["to all"] for writer in writers)


@pytest.mark.parametrize("channel", [ALICE, ALL])
async def test_deliveries_leave_nothing_behind(node: Node, channel: Channel) -> None:
    """After a thousand events to fifty connections the memory for them is free again."""
    writers = [await node.connect_live() for _ in range(50)]
    node.backend.keeps_nothing = True
    for writer in writers:
        writer.try_send = len  # type: ignore[assignment, method-assign]
    for _ in range(10):
        await node.publish(1, channel=channel)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        await node.publish(1, channel=channel)
    gc.collect()
    assert sys.getallocatedblocks() - before < 200
    assert all(connection.events == 1010 for connection in node.connections)


async def test_full_socket_leaves_the_synced_state_and_returns(node: Node) -> None:
    """A full socket does not delay the others, and the order is kept."""
    slow, quick = await node.connect_live(), await node.connect_live()
    slow.fill()
    await node.publish(1)
    assert [c.is_synced for c in node.connections] == [False, True]
    await node.publish(2)
    await node.publish("all", channel=ALL)
    slow.empty()
    await until(lambda: slow.data == ["1", "2", "all"])
    await node.publish(3)
    assert [c.is_synced for c in node.connections] == [True, True]
    assert slow.data == quick.data == ["1", "2", "all", "3"]
    assert [event.id for event in slow.events[1:]] == [event.id for event in quick.events[1:]]


async def test_heartbeat_that_does_not_fit(node: Node) -> None:
    """The rest of a heartbeat is written before the next event."""
    writer = await node.connect_live()
    writer.fill()
    node.connections[0].send_heartbeat(0.0)
    assert not node.connections[0].is_synced
    await node.publish(1)
    writer.empty()
    await until(lambda: writer.data == ["1"])
    assert writer.written.index(b": hb") < writer.written.index(b"data: 1")


async def test_disconnected_client_is_not_written_to(node: Node) -> None:
    """Between the loss of a socket and the end of its handler, its descriptor may be another
    client's.
    """
    closed, open_ = await node.connect_live(), await node.connect_live()
    closed.abort()
    await node.publish(1)
    await node.publish(2, channel=ALL)
    assert closed.data == []
    assert open_.data == ["1", "2"]


async def test_last_synced_connection_clears_the_position(node: Node) -> None:
    """When the last synced connection ends, the next one sets the position of the channel."""
    await node.connect_live()
    held = node.connect(user="bob")
    node.backend.before_read.close()
    late = node.connect(user="bob")
    await until(lambda: node.backend.before_read.waiting > 0)
    node.tasks[0].cancel()
    await until(node.tasks[0].done)
    await node.publish(1, channel=ALL)
    node.backend.before_read.open()
    await until(lambda: node.connections[2].is_synced)
    await node.publish(2, channel=ALL)
    assert late.data[-1] == held.data[-1] == "2"


class Crowd:
    """Clients of three users and four topics that connect, disconnect and stall at random."""

    def __init__(self, node: Node, seed: int) -> None:
        self.node = node
        self.chance = random.Random(seed)
        self.published: Counter[Channel] = Counter()
        self.alive: list[int] = []
        users, topics = map(user_channel, "xyz"), map(topic_channel, "abcd")
        self.channels = [ALL, *users, *topics]

    async def step(self) -> None:
        """Do one random action."""
        match self.chance.randrange(8):
            case 0 | 1:
                topics = sorted(self.chance.sample("abcd", self.chance.randrange(4)))
                self.node.connect(user=self.chance.choice("xyz"), topics=topics)
                self.alive.append(len(self.node.tasks) - 1)
            case 2 if self.alive:
                index = self.alive.pop(self.chance.randrange(len(self.alive)))
                self.node.tasks[index].cancel()
            case 3:
                self.node.registry.fill_gaps()
            case _:
                await self.publish()
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        for writer in self.chance.sample(self.node.writers, min(2, len(self.node.writers))):
            self.chance.choice([writer.fill, writer.empty])()

    async def publish(self) -> None:
        """Publish some events in one channel; sometimes their announcement is lost, which is
        noticed.
        """
        channel = self.chance.choice(self.channels)
        self.node.backend.loses_events = loses = self.chance.random() < 0.1
        for _ in range(self.chance.randrange(1, 4)):
            self.published[channel] += 1
            await self.node.publish([channel, self.published[channel]], channel=channel)
        self.node.backend.loses_events = False
        if loses:
            self.node.registry.fill_gaps()

    def check(self, client: int) -> None:
        """The client got every event from its first one on, once and in order; a live one up to
        now.
        """
        last: dict[Channel, int] = {}
        for text in self.node.writers[client].data:
            channel, number = json.loads(text)
            assert number == last.get(channel, number - 1) + 1
            last[channel] = number
        if client in self.alive:
            assert all(number == self.published[channel] for channel, number in last.items())


@pytest.mark.parametrize("seed", range(5))
async def test_random_connections(node: Node, seed: int) -> None:
    """However clients connect, stall and disconnect, each gets each event once and in order."""
    crowd = Crowd(node, seed)
    for _ in range(600):
        await crowd.step()
    for writer in node.writers:
        writer.empty()
    await until(lambda: all(not node.connections[n].is_buffering for n in crowd.alive))
    await settled()
    assert any(connection.is_synced for connection in node.connections)
    for client in range(len(node.writers)):
        crowd.check(client)
