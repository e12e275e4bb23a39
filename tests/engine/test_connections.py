"""Join, replay, live, leave: without a hole and without a duplicate, at every interleaving."""

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
from hub.engine.connection import Connection
from hub.engine.connections import Connections
from hub.engine.heartbeat import HeartbeatWheel
from hub.ports.events import FROM_START, Publication
from hub.transports.sse import SseEventEncoder
from tests.doubles import FakeClock, FakeWriter, Gate, GatedBackend, new_connection, settled, until

ALICE = user_channel("alice")
TRANSPORT = SseEventEncoder(chunked=False)


class Node:
    """A fan-out on a gated broker, and the clients that are served by it."""

    def __init__(self) -> None:
        self.backend = GatedBackend()
        self.clock = FakeClock()
        self.wheel = HeartbeatWheel(self.clock, 8.0)
        self.fanout = Connections(
            self.backend.events,
            self.backend.subscriptions,
            self.wheel,
            self.clock,
            node="n",
            heartbeat_seconds=8.0,
        )
        self.tasks: list[asyncio.Task[CloseReason]] = []
        self.connections: list[Connection] = []
        self.sinks: list[FakeWriter] = []

    def connect(
        self,
        cursor: Mapping[Channel, Position] | None = None,
        *,
        user: str = "alice",
        topics: Sequence[str] = (),
        most: int = 256,
    ) -> FakeWriter:
        sink = FakeWriter()
        connection = new_connection(
            user,
            [user_channel(user), ALL, *map(topic_channel, topics)],
            sink,
            self.clock,
            connection_id=f"c{len(self.connections)}",
            encoder=TRANSPORT,
            outbox_max_frames=most,
            outbox_max_bytes=10**6,
        )
        self.connections.append(connection)
        self.sinks.append(sink)
        self.tasks.append(
            asyncio.create_task(self.fanout.attach_and_wait(connection, cursor or {}))
        )
        return sink

    async def connect_live(self, **more: Any) -> FakeWriter:
        sink = self.connect(**more)
        await until(lambda: bool(sink.events) and not self.connections[-1].is_buffering)
        return sink

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
    """A node; its clients leave at the end."""
    node = Node()
    yield node
    for task in node.tasks:
        task.cancel()
    await asyncio.gather(*node.tasks, return_exceptions=True)
    assert len(node.fanout) == 0


@pytest.mark.parametrize(
    "held", ["before_subscribe", "after_subscribe", "before_read", "after_read"]
)
@pytest.mark.parametrize("page", [1, 150, 450])
async def test_published_while_joining(node: Node, held: str, page: int) -> None:
    """Whatever the join waits for, events that come meanwhile are handed over once, in order."""
    await node.publish("seen")
    cursor = {ALICE: await node.head()}
    before = [f"missed {n}" for n in range(page)]
    await node.publish(*before)
    gate: Gate = getattr(node.backend, held)
    gate.close()
    sink = node.connect(cursor)
    await until(lambda: gate.waiting > 0)
    await node.publish("meanwhile 1", "meanwhile 2")
    gate.open()
    await until(lambda: not node.connections[0].is_buffering)
    await node.publish("live")
    assert sink.data == [*before, "meanwhile 1", "meanwhile 2", "live"]


async def test_published_between_pages(node: Node) -> None:
    """Events that come while the replay is under way follow it."""
    await node.publish(*range(500))
    gate = node.backend.after_read
    sink = node.connect({ALICE: FROM_START})
    for n in range(3):
        gate.close()
        await until(lambda: gate.waiting > 0 or not node.connections[0].is_buffering)
        await node.publish(f"meanwhile {n}")
        gate.open()
        await settled()
    await until(lambda: not node.connections[0].is_buffering)
    assert sink.data == [*map(str, range(500)), "meanwhile 0", "meanwhile 1", "meanwhile 2"]


async def test_more_than_can_wait_while_joining(node: Node) -> None:
    """What does not fit into the hold is read from the log instead."""
    node.backend.after_read.close()
    sink = node.connect()
    await until(lambda: node.backend.after_read.waiting > 0)
    await node.publish(*range(700))
    node.backend.after_read.open()
    await until(lambda: not node.connections[0].is_buffering)
    await node.publish("live")
    assert sink.data == [*map(str, range(700)), "live"]


async def test_ephemeral_event_never_comes_before_the_opening(node: Node) -> None:
    """hub.open is the first event, whatever is published while joining."""
    node.backend.before_read.close()
    sink = node.connect()
    await until(lambda: node.backend.before_read.waiting > 0)
    await node.publish("now", ephemeral=True)
    node.backend.before_read.open()
    await until(lambda: not node.connections[0].is_buffering)
    assert [event.name for event in sink.events] == ["hub.open", "e"]
    assert sink.data == ["now"]


async def test_lost_announcements_are_filled_from_the_log(node: Node) -> None:
    """The next event that is heard shows the gap, and the log closes it."""
    sink = await node.connect_live()
    await node.publish(1)
    node.backend.loses_events = True
    await node.publish(2, 3)
    node.backend.loses_events = False
    await node.publish(4)
    await until(lambda: len(sink.data) == 4)
    await node.publish(5)
    assert sink.data == ["1", "2", "3", "4", "5"]


async def test_broken_link_is_filled_without_a_further_event(node: Node) -> None:
    """After a new link everyone reads the log, also when nothing more is published."""
    sinks = [await node.connect_live() for _ in range(50)]
    node.backend.loses_events = True
    await node.publish(1, 2)
    node.backend.loses_events = False
    node.fanout.fill_gaps()
    await until(lambda: all(sink.data == ["1", "2"] for sink in sinks))


async def test_second_break_while_filling(node: Node) -> None:
    """A link that breaks again while the log is being read loses nothing."""
    sink = await node.connect_live()
    node.backend.loses_events = True
    await node.publish(1)
    node.backend.after_read.close()
    node.fanout.fill_gaps()
    await until(lambda: node.backend.after_read.waiting > 0)
    await node.publish(2)
    node.fanout.fill_gaps()
    node.backend.loses_events = False
    node.backend.after_read.open()
    await until(lambda: sink.data == ["1", "2"])


async def test_new_epoch_while_live_is_a_reset(node: Node) -> None:
    """A broker that came back empty is told to the client, once, and then it goes on."""
    sink = await node.connect_live()
    await node.publish(1)
    node.backend.events.begin_new_epoch(ALICE)
    await node.publish(2, 3)
    await until(lambda: not node.connections[0].is_buffering)
    await node.publish(4)
    names = [event.name for event in sink.events]
    assert names.count("hub.reset") == 1
    assert sink.data[-1] == "4"


async def test_new_epoch_at_the_next_offset_is_a_reset(node: Node) -> None:
    """An offset that would follow is no continuation when the epoch is another."""
    sink = await node.connect_live()
    await node.publish(1)
    node.backend.events.begin_new_epoch(ALICE)
    node.backend.loses_events = True
    await node.publish("unheard")
    node.backend.loses_events = False
    await node.publish("second of the new epoch")
    await until(lambda: not node.connections[0].is_buffering)
    assert [event.name for event in sink.events] == ["hub.open", "e", "hub.reset"]


async def test_who_read_ahead_of_the_announcement(node: Node) -> None:
    """It stands further than its channel's track, and keeps its own place until that catches up."""
    first = await node.connect_live()
    node.backend.loses_events = True
    await node.publish("unheard")
    node.backend.loses_events = False
    ahead = await node.connect_live()
    assert [c.is_synced for c in node.connections] == [True, False]
    await node.publish("heard")
    await until(lambda: first.data == ["unheard", "heard"])
    assert ahead.data == ["heard"]
    await node.publish("by all")
    assert [c.is_synced for c in node.connections] == [True, True]
    assert first.data == ["unheard", "heard", "by all"]
    assert ahead.data == ["heard", "by all"]


async def test_only_the_reset_itself_moves_the_cursor_past_what_was_lost(node: Node) -> None:
    """A client that is cut off before a channel's `hub.reset` must be told when it returns: until
    then every `id:` still says where it stood in that channel, also the one of `hub.open`.
    """
    await node.publish("one", "two")
    await node.publish("three", channel=ALL)
    lost = {ALICE: Position("aaaaa", 7), ALL: Position("bbbbb", 9)}
    sink = node.connect(lost)
    await until(lambda: bool(node.connections) and not node.connections[0].is_buffering)
    opened, *resets = sink.events
    assert json.loads(opened.data)["replayed"] == 0
    assert [event.name for event in resets] == ["hub.reset", "hub.reset"]
    assert parse_cursor(opened.id, [ALICE, ALL]) == lost
    now_at = dict(lost)
    for reset in resets:
        channel = Channel(json.loads(reset.data)["channel"])
        now_at[channel] = node.connections[0].positions[channel]
        assert parse_cursor(reset.id, [ALICE, ALL]) == now_at


async def test_several_connections_get_it_once_each(node: Node) -> None:
    """Three tabs, one event each."""
    sinks = [await node.connect_live() for _ in range(3)]
    await node.publish("x")
    assert [sink.data for sink in sinks] == [["x"]] * 3


async def test_last_one_unsubscribes(node: Node) -> None:
    """A channel is given up when nobody follows it, and not before."""
    await node.connect_live()
    await node.connect_live()
    node.tasks[0].cancel()
    await until(node.tasks[0].done)
    assert node.backend.unsubscribed == []
    node.tasks[1].cancel()
    await until(node.tasks[1].done)
    assert sorted(node.backend.unsubscribed) == sorted([ALICE, ALL])


async def test_client_that_leaves_while_joining(node: Node) -> None:
    """At every wait of the join: nothing stays behind."""
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
        assert len(node.fanout) == 0
    assert node.backend.unsubscribed.count(ALICE) == len(gates)


async def test_full_socket_waits_in_the_outbox(node: Node) -> None:
    """What does not fit into the socket follows in order when there is room."""
    sink = await node.connect_live()
    sink.fill()
    await node.publish(1, 2, 3)
    await settled()
    assert sink.data == []
    sink.empty()
    await until(lambda: sink.data == ["1", "2", "3"])
    await node.publish(4)
    assert sink.data == ["1", "2", "3", "4"]


async def test_slow_client_is_closed_and_the_others_go_on(node: Node) -> None:
    """An outbox that is full ends its connection; it resumes by its cursor."""
    slow = node.connect(most=5)
    await until(lambda: not node.connections[0].is_buffering)
    quick = await node.connect_live()
    slow.fill()
    for n in range(10):
        await node.publish(n)
    await until(node.tasks[0].done)
    assert node.tasks[0].result() is CloseReason.SLOW
    assert slow.aborted
    assert len(quick.data) == 10
    assert len(node.fanout) == 1


async def test_replay_waits_for_a_slow_client(node: Node) -> None:
    """A long replay is read no faster than the client takes it, and is no reason to close it."""
    await node.publish(*range(900))
    sink = node.connect({ALICE: FROM_START}, most=250)
    await until(lambda: bool(sink.events))
    for _ in range(5):
        sink.fill()
        await settled()
        sink.empty()
        await settled()
    await until(lambda: not node.connections[0].is_buffering)
    assert sink.data == [str(n) for n in range(900)]


async def test_drain_ends_all_and_refuses_new_ones(node: Node) -> None:
    """hub.bye last, and the reason as a value."""
    sinks = [await node.connect_live() for _ in range(3)]
    await node.fanout.drain(0.0, asyncio.Event())
    late = node.connect()
    await until(lambda: all(task.done() for task in node.tasks))
    assert {task.result() for task in node.tasks} == {CloseReason.DRAINING}
    assert [sink.events[-1].name for sink in (*sinks, late)] == ["hub.bye"] * 4
    await node.publish("after")
    assert all(sink.data == [] for sink in sinks)


async def test_broker_away_at_the_join(node: Node) -> None:
    """The client is told to come back."""
    node.backend.is_unavailable = True
    sink = node.connect()
    await until(node.tasks[0].done)
    assert node.tasks[0].result() is CloseReason.BROKER_AWAY
    assert json.loads(sink.events[-1].data)["reconnect"] is True


async def test_heartbeat_after_silence_only(node: Node) -> None:
    """Eight seconds without a byte bring one comment line; a written connection waits on."""
    turning = asyncio.create_task(node.wheel.run())
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
    turning.cancel()


async def test_heartbeats_cost_one_look_each(node: Node) -> None:
    """A thousand idle connections: one write each in a heartbeat time, and no task."""
    tasks = len(asyncio.all_tasks())
    sinks = [node.connect() for _ in range(1000)]
    await until(lambda: all(not connection.is_buffering for connection in node.connections))
    assert len(asyncio.all_tasks()) == tasks + 1000  # each one's own handler stands for these
    writes = sum(sink.writes for sink in sinks)
    for _ in range(17):
        node.clock._now += 0.5
        node.wheel.tick()
    assert sum(sink.writes for sink in sinks) == writes + 1000


async def test_joins_take_their_turn(node: Node) -> None:
    """However many come at once, few are at the broker: the rest wait where no time-out runs."""
    node.backend.before_subscribe.close()
    sinks = [node.connect() for _ in range(100)]
    await settled()
    assert node.backend.before_subscribe.waiting == 64
    node.backend.before_subscribe.open()
    await until(lambda: all(sink.events for sink in sinks))


async def test_gap_waits_for_the_broker(node: Node) -> None:
    """While the broker is away the connection stays, and is caught up when it is back."""
    sink = await node.connect_live()
    await node.publish("seen")
    node.backend.loses_events = True
    await node.publish("missed")
    node.backend.loses_events = False
    node.backend.is_unavailable = True
    node.fanout.fill_gaps()
    await settled()
    for _ in range(5):
        await node.clock.advance(2.0)
    assert (sink.data, node.connections[0].close_reason) == (["seen"], None)
    node.backend.is_unavailable = False
    await node.clock.advance(2.0)
    await until(lambda: not node.connections[0].is_buffering)
    assert sink.data == ["seen", "missed"]


async def test_held_events_are_bounded_in_bytes(node: Node) -> None:
    """What comes while a connection is held waits up to a bound; the rest is read from the log."""
    gate = node.backend.after_read
    gate.close()
    sink = node.connect({ALICE: FROM_START})
    await until(lambda: gate.waiting > 0)
    large = ["x" * 300_000 for _ in range(10)]
    await node.publish(*large)
    held = node.connections[0]._buffered
    assert held is not None
    assert len(held) == 4
    gate.open()
    await until(lambda: not node.connections[0].is_buffering)
    assert sink.data == large


async def test_live_ones_are_in_step(node: Node) -> None:
    """Who stands where the channels stand needs no memory of its own."""
    sink = await node.connect_live()
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
    assert parse_cursor(sink.events[-1].id, [ALICE, ALL]) == connection.positions


async def test_shapes_of_cursors_are_their_own(node: Node) -> None:
    """Users with different topics share events, and each id says where that client stands."""
    await node.publish(*range(100), channel=user_channel("bob"))  # a longer own part than alice's
    sinks = [
        await node.connect_live(user="alice"),
        await node.connect_live(user="bob"),
        await node.connect_live(user="alice", topics=["t"]),
        await node.connect_live(user="bob", topics=["s", "t"]),
    ]
    topic = topic_channel("t")
    for channel in (ALL, topic, ALICE, ALL, topic, user_channel("bob"), topic, ALL):
        await node.publish(str(channel), str(channel), channel=channel)
        await node.publish("passing", channel=channel, ephemeral=True)
    for sink, connection in zip(sinks, node.connections, strict=True):
        assert connection.is_synced
        at = parse_cursor(sink.events[0].id, connection.channels)
        seen: dict[Channel, int] = dict.fromkeys(connection.channels, 0)
        for event in sink.events[1:]:
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


async def test_data_that_looks_like_a_place_for_the_cursor(node: Node) -> None:
    """NULs in a string are data, for those who share the channel too."""
    sink = await node.connect_live()
    await node.publish("a" + "\0" * 40 + "b", channel=ALL)
    assert node.connections[0].is_synced
    assert sink.data == ["a" + "\0" * 40 + "b"]


async def test_many_are_one_encoding(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event becomes bytes once for all who share its channels, and is written once to each."""
    sinks = [await node.connect_live(user=f"u{n}") for n in range(200)]
    encode, frame = Mock(wraps=TRANSPORT.encode), Mock(wraps=TRANSPORT.frame)
    monkeypatch.setattr(TRANSPORT, "encode", encode)
    monkeypatch.setattr(TRANSPORT, "frame", frame)
    writes = [sink.writes for sink in sinks]
    await node.publish("to all", channel=ALL)
    assert [sink.writes for sink in sinks] == [n + 1 for n in writes]
    assert (encode.call_count, frame.call_count) == (1, 1)
    assert all(sink.data == ["to all"] for sink in sinks)


@pytest.mark.parametrize("channel", [ALICE, ALL])
async def test_deliveries_leave_nothing_behind(node: Node, channel: Channel) -> None:
    """A thousand events to fifty connections: what was allocated for them is free again."""
    sinks = [await node.connect_live() for _ in range(50)]
    node.backend.keeps_nothing = True
    for sink in sinks:
        sink.try_send = len  # type: ignore[assignment, method-assign]
    for _ in range(10):
        await node.publish(1, channel=channel)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        await node.publish(1, channel=channel)
    gc.collect()
    assert sys.getallocatedblocks() - before < 200
    assert all(connection.events == 1010 for connection in node.connections)


async def test_full_socket_stands_apart_and_comes_back(node: Node) -> None:
    """In between, the others are not held up, and the order is kept."""
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
    """A heartbeat is written like everything else: its rest goes before the next event."""
    sink = await node.connect_live()
    sink.fill()
    node.connections[0].send_heartbeat(0.0)
    assert not node.connections[0].is_synced
    await node.publish(1)
    sink.empty()
    await until(lambda: sink.data == ["1"])
    assert sink.written.index(b": hb") < sink.written.index(b"data: 1")


async def test_client_that_is_gone_is_not_written_to(node: Node) -> None:
    """Between the loss of a socket and the end of its handler its descriptor may be another's."""
    gone, here = await node.connect_live(), await node.connect_live()
    gone.abort()
    await node.publish(1)
    await node.publish(2, channel=ALL)
    assert gone.data == []
    assert here.data == ["1", "2"]


async def test_last_in_step_leaves_the_track(node: Node) -> None:
    """The next one that comes says where the channel stands, whatever was announced meanwhile."""
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
    """Clients of three users and four topics that come, go, stall and are published to."""

    def __init__(self, node: Node, seed: int) -> None:
        self.node = node
        self.chance = random.Random(seed)
        self.published: Counter[Channel] = Counter()
        self.alive: list[int] = []
        users, topics = map(user_channel, "xyz"), map(topic_channel, "abcd")
        self.channels = [ALL, *users, *topics]

    async def step(self) -> None:
        """Whatever comes next."""
        match self.chance.randrange(8):
            case 0 | 1:
                topics = sorted(self.chance.sample("abcd", self.chance.randrange(4)))
                self.node.connect(user=self.chance.choice("xyz"), topics=topics)
                self.alive.append(len(self.node.tasks) - 1)
            case 2 if self.alive:
                index = self.alive.pop(self.chance.randrange(len(self.alive)))
                self.node.tasks[index].cancel()
            case 3:
                self.node.fanout.fill_gaps()
            case _:
                await self.publish()
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        for sink in self.chance.sample(self.node.sinks, min(2, len(self.node.sinks))):
            self.chance.choice([sink.fill, sink.empty])()

    async def publish(self) -> None:
        """A few events in one channel; sometimes the announcement is lost, and that is noticed."""
        channel = self.chance.choice(self.channels)
        self.node.backend.loses_events = deaf = self.chance.random() < 0.1
        for _ in range(self.chance.randrange(1, 4)):
            self.published[channel] += 1
            await self.node.publish([channel, self.published[channel]], channel=channel)
        self.node.backend.loses_events = False
        if deaf:
            self.node.fanout.fill_gaps()

    def check(self, client: int) -> None:
        """It got all from some event on, each once and in order; a live one up to now."""
        last: dict[Channel, int] = {}
        for text in self.node.sinks[client].data:
            channel, number = json.loads(text)
            assert number == last.get(channel, number - 1) + 1
            last[channel] = number
        if client in self.alive:
            assert all(number == self.published[channel] for channel, number in last.items())


@pytest.mark.parametrize("seed", range(10))
async def test_comings_and_goings(node: Node, seed: int) -> None:
    """In whatever state clients come, stall and go: each gets each event once, in order."""
    crowd = Crowd(node, seed)
    for _ in range(600):
        await crowd.step()
    for sink in node.sinks:
        sink.empty()
    await until(lambda: all(not node.connections[n].is_buffering for n in crowd.alive))
    await settled()
    assert any(connection.is_synced for connection in node.connections)
    for client in range(len(node.sinks)):
        crowd.check(client)
