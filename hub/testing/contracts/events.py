"""What every event log and its subscriptions must do."""

from __future__ import annotations

import asyncio

import pytest

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.ports.events import FROM_START, Outcome, Publication
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend

MAX_EVENTS = 100


class EventsContract:
    """The suite for ports.events and ports.backend.BackendHealth."""

    @pytest.fixture
    async def node(self, open_backend: OpenBackend) -> Node:
        """A node whose backend keeps few events."""
        return Node(await open_backend(BackendOptions(max_events=MAX_EVENTS)))

    async def test_offsets_count_up_in_one_epoch(self, node: Node) -> None:
        """The events of a channel have the offsets 1, 2, 3 in one epoch."""
        positions = [(await node.publish())[1] for _ in range(3)]
        assert [p.offset for p in positions if p] == [1, 2, 3]
        assert len({p.epoch for p in positions if p}) == 1

    async def test_each_channel_has_its_own_offsets(self, node: Node) -> None:
        """The first event of another channel has offset 1 too."""
        await node.publish()
        (other,) = await node.backend.events.publish(
            [Publication(channel=ALL, name="n", data=b"1")]
        )
        assert other.position is not None
        assert other.position.offset == 1

    async def test_results_of_a_batch_are_in_order(self, node: Node) -> None:
        """Each publication of a batch gets its own result."""
        batch = [Publication(channel=ALICE, name="n", data=b"%d" % n) for n in range(5)]
        answers = await node.backend.events.publish(batch)
        assert [a.position.offset for a in answers if a.position] == [1, 2, 3, 4, 5]
        assert await node.read(FROM_START) == [b"0", b"1", b"2", b"3", b"4"]

    async def test_same_key_writes_once(self, node: Node) -> None:
        """A repeated key returns the first position and writes no second event."""
        first = await node.publish(idempotency_key="k")
        again = await node.publish(idempotency_key="k")
        assert first[0] is Outcome.WRITTEN
        assert again == (Outcome.DUPLICATE, first[1])
        assert await node.read(FROM_START) == [b"1"]

    async def test_key_with_a_lifetime_of_its_own(self, node: Node) -> None:
        """A key is remembered for its own time, and the keys beside it for theirs."""
        keys = {"short": 0.001, "long": 3600.0, "default": None}
        batch = [
            Publication(
                channel=ALICE, name="n", data=b"1", idempotency_key=key, idempotency_seconds=seconds
            )
            for key, seconds in keys.items()
        ]
        await node.backend.events.publish(batch)
        outcomes = [Outcome.DUPLICATE]
        async with asyncio.timeout(60):
            while outcomes[0] is not Outcome.WRITTEN:
                repeated = await node.backend.events.publish(batch)
                outcomes = [published.outcome for published in repeated]
                assert outcomes[1:] == [Outcome.DUPLICATE] * 2

    async def test_same_key_with_another_event_is_a_conflict(self, node: Node) -> None:
        """A key that was used for another name, other data or another kind changes nothing."""
        _, position = await node.publish('{"a":1,"b":[1,2]}', idempotency_key="k")
        conflict = (Outcome.CONFLICT, None)
        for data in ("1", '{"a":1,"b":[2,1]}', '{"a":1}', '{"a":"1","b":[1,2]}'):
            assert await node.publish(data, idempotency_key="k") == conflict
        other = Publication(
            channel=ALICE, name="other", data=b'{"a":1,"b":[1,2]}', idempotency_key="k"
        )
        (published,) = await node.backend.events.publish([other])
        assert (published.outcome, published.position) == conflict
        same = '{"b":[1,2],"a":1}'  # the order of fields is not part of the event
        assert await node.publish(same, idempotency_key="k", ephemeral=True) == conflict
        repeated = await node.publish(same, idempotency_key="k", ttl_seconds=60.0)
        assert repeated == (Outcome.DUPLICATE, position)
        assert await node.read(FROM_START) == [b'{"a":1,"b":[1,2]}']

    async def test_key_of_an_ephemeral_event_counts_too(self, node: Node) -> None:
        """The second publish of an ephemeral event is a duplicate without a position."""
        await node.publish(idempotency_key="k", ephemeral=True)
        assert await node.publish(idempotency_key="k", ephemeral=True) == (Outcome.DUPLICATE, None)

    async def test_reading_after_a_position(self, node: Node) -> None:
        """The page holds exactly the events after the position, in order."""
        await node.publish("1")
        _, second = await node.publish("2")
        await node.publish("3")
        await node.publish("4")
        assert await node.read(second) == [b"3", b"4"]

    async def test_reading_in_pages(self, node: Node) -> None:
        """A page has the position from which the next page continues."""
        for n in range(5):
            await node.publish(str(n))
        page = await node.page(FROM_START, 3)
        rest = await node.page(page.end, 3)
        assert [e.data for e in (*page.events, *rest.events)] == [b"0", b"1", b"2", b"3", b"4"]
        assert page.end != page.head
        assert rest.end == rest.head

    async def test_page_is_bounded_in_bytes(self, node: Node) -> None:
        """A page ends with the event that reaches the bound; the next page continues after it."""
        for n in range(4):
            await node.publish(str(n) * 1000)
        page = await node.page(FROM_START, 100, 1500)
        rest = await node.page(page.end, 100, 10**6)
        assert [len(p.events) for p in (page, rest)] == [2, 2]
        assert [e.data[:1] for e in (*page.events, *rest.events)] == [b"0", b"1", b"2", b"3"]

    async def test_reading_several_channels(self, node: Node) -> None:
        """Each channel is read from its own position."""
        await node.publish("1")
        await node.backend.events.publish([Publication(channel=ALL, name="n", data=b"2")])
        pages = await node.backend.events.read(
            {ALICE: None, ALL: FROM_START}, max_events=10, max_bytes=10**6
        )
        assert [len(pages[channel].events) for channel in (ALICE, ALL)] == [0, 1]

    async def test_reading_the_head_reads_nothing(self, node: Node) -> None:
        """Without a position the page has no events, only the head."""
        _, position = await node.publish()
        page = await node.page(None, 10)
        assert (list(page.events), page.head) == ([], position)

    async def test_channel_without_events_has_a_head(self, node: Node) -> None:
        """A position that was read before the first event continues with that event."""
        head = (await node.page(None, 10)).head
        assert head.offset == 0
        await node.publish("first")
        assert await node.read(head) == [b"first"]

    async def test_heads_of_channels(self, node: Node) -> None:
        """Each channel's newest position is returned, and none for a channel without events."""
        channels = [user_channel(f"u{n}") for n in range(600)]
        written = await node.backend.events.publish(
            [Publication(channel=channel, name="n", data=b"1") for channel in channels]
        )
        positions = {
            channel: published.position
            for channel, published in zip(channels, written, strict=True)
        }
        unknown = [user_channel(f"unknown{n}") for n in range(600)]
        heads = await node.backend.events.heads([*positions, *unknown])
        assert heads == {**positions, **dict.fromkeys(unknown)}
        assert await node.backend.events.heads([]) == {}

    async def test_position_of_another_epoch(self, node: Node) -> None:
        """A position of another epoch cannot be continued, and the page has the reason."""
        await node.publish()
        page = await node.page(Position("zzzzz", 1), 10)
        assert (page.reset_reason, list(page.events), page.end) == ("epoch", [], page.head)

    async def test_position_behind_the_head(self, node: Node) -> None:
        """A position that the channel has not reached cannot be continued."""
        _, position = await node.publish()
        assert position is not None
        page = await node.page(Position(position.epoch, position.offset + 1), 10)
        assert page.reset_reason == "epoch"

    async def test_position_before_the_trimmed_events(self, node: Node) -> None:
        """When events after the position are gone, the page has the reason and no events."""
        _, first = await node.publish()
        await node.backend.events.publish(
            [Publication(channel=ALICE, name="n", data=b"1")] * (MAX_EVENTS * 4)
        )
        page = await node.page(first, 10)
        assert (page.reset_reason, list(page.events)) == ("trimmed", [])

    async def test_expired_event_is_not_replayed(self, node: Node) -> None:
        """An event whose ttl has passed is skipped and is not a reset."""
        head = (await node.page(None, 10)).head
        await node.publish("short", ttl_seconds=0.001)
        await asyncio.sleep(0.01)  # the servers' clock cannot be held
        await node.publish("long", ttl_seconds=100.0)
        assert await node.read(head) == [b"long"]

    async def test_ephemeral_event_is_received_and_not_stored(self, node: Node) -> None:
        """An ephemeral event arrives without a position and is in no page."""
        await node.backend.subscriptions.subscribe([ALICE])
        assert await node.publish("now", ephemeral=True) == (Outcome.WRITTEN, None)
        assert await node.next() == Event(ALICE, "n", b"now", None)
        assert await node.read(FROM_START) == []

    async def test_internal_channel(self, node: Node) -> None:
        """A channel that is neither a user's, a topic nor `all` works like any other."""
        own = Channel("hub:reports")
        await node.backend.subscriptions.subscribe([own])
        for ephemeral in (True, False):
            event = Publication(channel=own, name="n", data=b"1", ephemeral=ephemeral)
            (published,) = await node.backend.events.publish([event])
            received = await node.next()
            assert (received.channel, received.position) == (own, published.position)

    async def test_subscribed_channel_is_received(self, node: Node) -> None:
        """Every event that is published after subscribe has returned arrives with its position."""
        await node.backend.subscriptions.subscribe([ALICE])
        for data in (b"1", b'{"a":"line\\nend"}'):
            _, position = await node.publish(data.decode())
            received = await node.next()
            assert (received.channel, received.name, received.data) == (ALICE, "n", data)
            assert received.position == position

    async def test_first_event_follows_the_position_of_a_channel_without_events(
        self, node: Node
    ) -> None:
        """A reader that was there before the first event does not need to read the log."""
        await node.backend.subscriptions.subscribe([ALICE])
        head = (await node.page(None)).head
        await node.publish()
        await node.publish()
        first, second = await node.next(), await node.next()
        assert first.follows(head)
        assert first.position is not None
        assert second.follows(first.position)
        assert not second.follows(head)

    @pytest.mark.parametrize("ephemeral", [False, True])
    async def test_trace_is_received_and_not_stored(self, node: Node, ephemeral: bool) -> None:
        """An event carries its trace to the subscribers, but not into the log."""
        await node.backend.subscriptions.subscribe([ALICE])
        traced = Publication(
            channel=ALICE,
            name="n",
            data=b"1",
            ephemeral=ephemeral,
            ttl_seconds=60.0,
            trace="4e" * 24,
        )
        plain = Publication(channel=ALICE, name="n", data=b"2")
        first, _ = await node.backend.events.publish([traced, plain])
        received = await node.next()
        assert (received.position, received.trace) == (first.position, "4e" * 24)
        assert (await node.next()).trace == ""
        page = await node.page(FROM_START)
        assert [event.trace for event in page.events] == [""] * (1 if ephemeral else 2)

    async def test_other_channels_are_not_received(self, node: Node) -> None:
        """Only events of subscribed channels arrive."""
        await node.backend.subscriptions.subscribe([topic_channel("a")])
        await node.publish("not this")
        other = Publication(channel=topic_channel("a"), name="n", data=b"this")
        await node.backend.events.publish([other])
        assert (await node.next()).data == b"this"

    async def test_subscribing_twice_delivers_once(self, node: Node) -> None:
        """A second subscription does not double the events."""
        await node.backend.subscriptions.subscribe([ALICE])
        await node.backend.subscriptions.subscribe([ALICE])
        await node.publish("1")
        await node.publish("2")
        assert [(await node.next()).data, (await node.next()).data] == [b"1", b"2"]

    async def test_subscribing_many_channels(self, node: Node) -> None:
        """Many channels can be subscribed to in one call."""
        many = [user_channel(f"u{n}") for n in range(1200)]
        await node.backend.subscriptions.subscribe(many)
        await node.backend.events.publish(
            [Publication(channel=c, name="n", data=b"1") for c in many]
        )
        assert {(await node.next()).channel for _ in many} == set(many)

    async def test_backend_is_ready(self, node: Node) -> None:
        """A backend that answers and has every subscription is ready."""
        await node.backend.subscriptions.subscribe([ALICE])
        await node.backend.health.check_ready()
