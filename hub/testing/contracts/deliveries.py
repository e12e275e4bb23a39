"""What the store of deliveries must do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from hub.core.channel import Channel, topic_channel, user_channel
from hub.core.deliveries import (
    Dead,
    Delivery,
    DeliveryLimits,
    Done,
    Postponed,
    Retry,
    Settlement,
    delivery_id,
)
from hub.ports.deliveries import DeliveryCounts, DeliveryStore, TakenDelivery
from hub.ports.events import Outcome
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend

BOB: Final = user_channel("bob/the %2Fsecond")
QUEUE: Final = "webhook"


def delivery(name: str, channel: Channel = ALICE, **more: Any) -> Delivery:
    """Return a delivery whose body is its name."""
    given = {"queue": QUEUE, "lane": "l", "body": name.encode(), **more}
    return Delivery(channel=channel, id=delivery_id(channel, name), **given)


class _Sender:
    """A process that takes deliveries."""

    def __init__(self, store: DeliveryStore) -> None:
        self.store = store

    async def take(
        self, limit: int = 100, *, queue: str = QUEUE, lease_seconds: float = 60.0
    ) -> list[TakenDelivery]:
        """Take deliveries, in the order of their bodies."""
        taken = await self.store.take(queue, limit, lease_seconds=lease_seconds)
        return sorted(taken, key=lambda each: each.body)

    async def take_one(self, **more: Any) -> TakenDelivery:
        """Take one delivery that is about to be due."""
        async with asyncio.timeout(60):
            while not (taken := await self.take(1, **more)):
                await asyncio.sleep(0)  # the clock of a server cannot be controlled
        return taken[0]

    async def complete_all(self, settlement: Settlement) -> list[bytes]:
        """Take and settle until nothing is due, and return the bodies."""
        bodies = []
        while taken := await self.take(1):
            bodies.append(taken[0].body)
            assert (await self.store.complete(taken[0], settlement)).is_recorded
        return bodies


def _bodies(taken: Sequence[Any]) -> list[bytes]:
    return [each.body for each in taken]


class DeliveriesContract:
    """The suite for ports.deliveries, and the deliveries of publications."""

    @pytest.fixture
    async def senders(self, open_backend: OpenBackend) -> list[_Sender]:
        """Two processes on an empty store."""
        options = BackendOptions()
        return [_Sender((await open_backend(options)).deliveries) for _ in range(2)]

    async def test_lanes(self, senders: list[_Sender]) -> None:
        """The first delivery of each lane is taken, once, and the next one when it is settled."""
        first, second = senders
        await first.store.add(
            [delivery("a1"), delivery("a2"), delivery("b1", BOB), delivery("c1", lane="other")]
        )
        await second.store.add([delivery("a2"), delivery("a3"), delivery("x", queue="push")])
        taken = await second.take()
        assert _bodies(taken) == [b"a1", b"b1", b"c1"]
        assert [(each.channel, each.lane) for each in taken] == [
            (ALICE, "l"), (BOB, "l"), (ALICE, "other")
        ]  # fmt: skip
        assert await first.take() == []
        assert await second.store.complete(taken[0], Done()) == (True, True)
        assert await second.store.complete(taken[2], Done()) == (True, False)
        (taken_next,) = await first.take()
        assert taken_next.body == b"a2"
        assert await first.store.complete(taken_next, Dead("no")) == (True, True)
        assert _bodies(await first.take()) == [b"a3"]
        assert _bodies(await first.take(queue="push")) == [b"x"]

    async def test_limit(self, senders: list[_Sender]) -> None:
        """Nobody gets more than asked for, from one partition or from many."""
        for n in range(5):
            await senders[0].store.add(
                [delivery(f"x{n}", lane=str(n)), delivery(f"y{n}", user_channel(f"user {n}"))]
            )
        counts = [len(await senders[n % 2].take(3)) for n in range(5)]
        assert counts == [3, 3, 3, 1, 0]

    async def test_retry(self, senders: list[_Sender]) -> None:
        """A failed delivery comes again after its delay, before the others of its lane."""
        first, second = senders
        await first.store.add([delivery("a1"), delivery("a2")])
        taken = await first.take_one()
        assert (taken.failures, taken.position) == (0, None)
        await first.store.complete(taken, Retry(3600.0, "late"))
        assert await second.take() == []
        (waiting,) = await second.store.list_waiting(QUEUE, 10)
        assert (waiting.id, waiting.state, waiting.failures) == (taken.id, "waiting", 1)
        await first.store.cancel(QUEUE, taken.id)
        taken = await second.take_one()
        for n in range(3):
            assert (taken.body, taken.failures) == (b"a2", n)
            await second.store.complete(taken, Retry(0.0, f"er\nror {n}"))
            taken = await second.take_one()
            await second.store.complete(taken, Postponed(0.0))  # counts as no failure
            taken = await second.take_one()
        stored = await first.store.find(QUEUE, taken.id)
        assert stored is not None
        assert [line.split(" ", 1)[1] for line in stored.errors] == [
            f"er ror {n}" for n in range(3)
        ]

    async def test_due_later(self, senders: list[_Sender]) -> None:
        """A delivery with a delay is due later, and those of its lane wait for it."""
        first, _ = senders
        await first.store.add(
            [delivery("a1", delay_seconds=3600.0), delivery("a2"), delivery("b1", BOB)]
        )
        assert _bodies(await first.take()) == [b"b1"]
        assert await first.store.cancel(QUEUE, delivery("a1").id)
        assert not await first.store.cancel(QUEUE, delivery("a1").id)
        assert _bodies(await first.take()) == [b"a2"]
        await first.store.add([delivery("c1", lane="c", delay_seconds=0.05)])
        assert (await first.take_one()).body == b"c1"

    async def test_lost_lease(self, senders: list[_Sender]) -> None:
        """A delivery whose lease has ended is taken again, and only the newest one settles it."""
        first, second = senders
        await first.store.add([delivery("a1"), delivery("a2")])
        lost = await first.take_one(lease_seconds=0.05)
        taken = await second.take_one()
        assert taken.body == b"a1"
        for settlement in (Done(), Retry(0.0, "x"), Postponed(0.0), Dead("x")):
            assert await first.store.complete(lost, settlement) == (False, False)
        assert await second.store.complete(taken, Done()) == (True, True)
        assert await second.store.complete(taken, Done()) == (False, False)
        assert (await second.take_one()).body == b"a2"

    async def test_cancelled_while_taken(self, senders: list[_Sender]) -> None:
        """A delivery that is cancelled while somebody has it cannot be settled any more."""
        first, second = senders
        await first.store.add([delivery("a1"), delivery("a2")])
        taken = await first.take_one()
        assert await second.store.cancel(QUEUE, taken.id)
        assert await first.store.complete(taken, Retry(0.0, "x")) == (False, False)
        assert (await first.take_one()).body == b"a2"

    async def test_dead_letters(self, senders: list[_Sender]) -> None:
        """A dead letter is kept and listed, and can be replayed behind its lane, or discarded."""
        first, second = senders
        await first.store.add([delivery("a1"), delivery("a2"), delivery("b1", BOB)])
        for body in (b"a1", b"b1"):
            taken = next(each for each in await first.take() if each.body == body)
            assert (await first.store.complete(taken, Dead("gone"))).is_recorded
            for other in await first.store.list_waiting(QUEUE, 10):
                assert other.state == "waiting"
            await self._release(first)
        dead = await second.store.list_dead(QUEUE, 10)
        assert sorted(_bodies(dead)) == [b"a1", b"b1"]
        assert {each.state for each in dead} == {"dead"}
        assert len(await second.store.list_dead(QUEUE, 1)) == 1
        ids = {each.body: each.id for each in dead}
        assert not await second.store.cancel(QUEUE, ids[b"a1"])
        assert await second.store.replay(QUEUE, ids[b"a1"])
        assert not await second.store.replay(QUEUE, ids[b"a1"])
        assert await second.store.discard(QUEUE, ids[b"b1"])
        assert not await second.store.discard(QUEUE, ids[b"b1"])
        assert await first.store.list_dead(QUEUE, 10) == []
        assert await first.complete_all(Done()) == [b"a2", b"a1"]
        assert await first.store.counts(QUEUE) == DeliveryCounts()

    async def _release(self, sender: _Sender) -> None:
        """Make sure that what the test has taken besides is due again."""
        for each in await sender.store.list_waiting(QUEUE, 10):
            await sender.store.cancel(QUEUE, each.id)
            await sender.store.add([delivery(each.body.decode(), each.channel, lane=each.lane)])

    async def test_unknown_ids(self, senders: list[_Sender]) -> None:
        """Nothing has the id that nobody gave, whatever it looks like."""
        store = senders[0].store
        for name in ("", "x", "d", "d00", "dzz1", "dff1", "d00" + "x" * 65, "ü" * 9):
            assert await store.find(QUEUE, name) is None
            for change in (store.cancel, store.replay, store.discard):
                assert not await change(QUEUE, name)

    async def test_limits(self, open_backend: OpenBackend) -> None:
        """What does not fit into its lane is a dead letter; what does not fit at all is counted."""
        limits = DeliveryLimits(
            max_per_lane=2, max_bytes=40, ttl_seconds=60.0, max_dead=2, dead_seconds=60.0
        )
        backend = await open_backend(BackendOptions(delivery_limits=limits))
        store = backend.deliveries
        await store.add([delivery(f"name{n}") for n in range(3)])
        (dead,) = await store.list_dead(QUEUE, 10)
        assert dead.body == b"name2"
        assert "too many" in dead.errors[0]
        await store.add([delivery("large", lane="o", body=b"x" * 31)])
        counts = await store.counts(QUEUE)
        assert counts == DeliveryCounts(lanes=1, waiting=2, dead=1, bytes=15, dropped=1)
        await store.add([delivery("fits", lane="o", body=b"x" * 25)])
        assert (await store.counts(QUEUE)).bytes == 40
        assert await store.cancel(QUEUE, delivery("fits").id)
        for n in range(3, 6):
            await store.add([delivery(f"name{n}")])
        dead_ones = await store.list_dead(QUEUE, 10)
        assert sorted(_bodies(dead_ones)) == [b"name4", b"name5"]
        assert await store.counts(QUEUE) == DeliveryCounts(
            lanes=1, waiting=2, dead=2, bytes=20, dropped=3
        )

    async def test_dead_letters_give_way(self, open_backend: OpenBackend) -> None:
        """The oldest dead letters are dropped for a new delivery, if that makes room for it."""
        limits = DeliveryLimits(
            max_per_lane=9, max_bytes=40, ttl_seconds=60.0, max_dead=9, dead_seconds=60.0
        )
        backend = await open_backend(BackendOptions(delivery_limits=limits))
        sender = _Sender(backend.deliveries)
        await sender.store.add([delivery(f"name{n}") for n in range(4)])
        assert len(await sender.complete_all(Dead("x"))) == 4
        await sender.store.add([delivery("waits", lane="o", body=b"x" * 28)])
        left = await sender.store.list_dead(QUEUE, 10)
        assert sorted(_bodies(left)) == [b"name2", b"name3"]
        await sender.store.add([delivery("large", lane="o", body=b"x" * 13)])
        counts = await sender.store.counts(QUEUE)
        assert counts == DeliveryCounts(lanes=1, waiting=1, dead=2, bytes=38, dropped=3)

    async def test_erase(self, senders: list[_Sender]) -> None:
        """The deliveries of a channel are erased, and no others."""
        first, second = senders
        prefix = user_channel("alice2")
        for n, channel in enumerate((ALICE, prefix, BOB)):
            await first.store.add([delivery(f"x{n}", channel), delivery(f"y{n}", channel)])
        taken = next(each for each in await first.take() if each.channel == ALICE)
        await first.store.complete(taken, Dead("x"))
        left = {each: delivery(each).id for each in ("x0", "y0")}
        dead = left.pop(taken.body.decode())
        assert await second.store.list_ids(QUEUE, ALICE) == [*left.values(), dead]
        assert await second.store.list_ids("push", ALICE) == []
        assert await second.store.erase(QUEUE, ALICE, dead_only=True) == 1
        assert await second.store.erase(QUEUE, ALICE) == 1
        assert await second.store.erase(QUEUE, ALICE) == 0
        assert (await second.store.counts(QUEUE)).waiting == 4
        assert await second.store.erase(QUEUE, BOB) == 2

    async def test_published(self, open_backend: OpenBackend) -> None:
        """The deliveries of an event are written with it, once, and not without it."""
        backend = await open_backend(BackendOptions())
        node = Node(backend, listens=False)
        deliveries = [delivery("p1"), delivery("p2", queue="push", body=b"\x00\xff")]
        publish: dict[str, Any] = {"idempotency_key": "k", "deliveries": deliveries}
        outcome, position = await node.publish(**publish)
        assert outcome is Outcome.WRITTEN
        sender = _Sender(backend.deliveries)
        (taken,) = await sender.take()
        assert (taken.body, taken.position, taken.channel) == (b"p1", position, ALICE)
        await backend.deliveries.complete(taken, Done())
        (pushed,) = await sender.take(queue="push")
        assert (pushed.body, pushed.position) == (b"\x00\xff", position)
        other = [delivery("other")]
        assert (await node.publish(**{**publish, "deliveries": other}))[0] is Outcome.DUPLICATE
        assert (await node.publish("2", **{**publish, "deliveries": other}))[0] is Outcome.CONFLICT
        assert await sender.take() == []
        await node.publish(ephemeral=True, deliveries=other)
        assert (await sender.take())[0].position is None
        room = topic_channel("room")
        await node.publish(channel=room, deliveries=[delivery("r", room)], ttl_seconds=60.0)
        assert (await sender.take_one()).channel == room

    async def test_other_channel(self, open_backend: OpenBackend) -> None:
        """A delivery with an id of another partition is refused before anything is written."""
        store = (await open_backend(BackendOptions())).deliveries
        wrong = msgspec.structs.replace(delivery("x"), id="d001x")
        with pytest.raises(ValueError, match="d001x"):
            await store.add([wrong])

    async def test_many(self, senders: list[_Sender]) -> None:
        """Each of many deliveries is handled once and in the order of its lane by two processes."""
        channels = [user_channel(f"u{n}") for n in range(12)]
        for n in range(6):
            await senders[0].store.add([delivery(f"n{n}", channel) for channel in channels])
        handled: dict[Channel, list[bytes]] = {}

        async def work(sender: _Sender) -> None:
            while taken := await sender.take(4):
                for each in taken:
                    handled.setdefault(each.channel, []).append(each.body)
                    assert (await sender.store.complete(each, Done())).is_recorded

        await asyncio.gather(*map(work, senders))
        await work(senders[0])
        assert handled == {channel: [b"n%d" % n for n in range(6)] for channel in channels}
