"""What a backend must do to erase everything that it keeps about a user."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.cursor import Position
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    OnBusy,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.ports.events import Outcome
from hub.ports.generations import MAX_LISTED_PER_USER, CreatedGeneration, GenerationFilter
from hub.ports.tickets import Ticket
from hub.ports.usage import UsageTotals
from hub.testing.contracts.generations import REQUEST
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend
from hub.testing.contracts.topics import CHAT, ROOM

_ALL = GenerationFilter(limit=MAX_LISTED_PER_USER)


class UserDataContract:
    """The suite for the methods `erase` of the stores."""

    @pytest.fixture
    async def node(self, open_backend: OpenBackend) -> Node:
        """A node on an empty backend."""
        return Node(await open_backend(BackendOptions()))

    async def test_erased_events_are_a_reset(self, node: Node) -> None:
        """No earlier position goes on silently, not even one from before the first event."""
        before = (await node.page(None)).head
        _, first = await node.publish("1")
        await node.publish("2")
        await node.backend.events.erase(ALICE)
        empty = await node.page(None)
        assert (empty.head.offset, list(empty.events)) == (0, [])
        assert await node.backend.events.heads([ALICE]) == {ALICE: None}
        assert (await node.page(empty.head)).reset_reason is None
        _, after = await node.publish("3")
        assert after is not None
        assert await node.read(empty.head) == [b"3"]
        for position in (before, first, Position(first.epoch if first else "", 2)):
            page = await node.page(position)
            assert (page.reset_reason, list(page.events)) == ("epoch", [])
        assert await node.read(after) == []

    async def test_erasure_notifies_the_subscribers(self, node: Node) -> None:
        """They receive a position of another epoch, which makes them read the log."""
        await node.backend.subscriptions.subscribe([ALICE])
        await node.publish("1")
        known = (await node.next()).position
        await node.backend.events.erase(ALICE)
        erased = (await node.next()).position
        assert known is not None
        assert erased is not None
        assert erased.epoch != known.epoch
        assert erased.offset == 0

    async def test_erasure_of_a_channel_changes_no_other_one(self, node: Node) -> None:
        """Channels of the same partition go on, also those that have had no event."""
        sharing = [
            user_channel(f"u{n}")
            for n in range(2000)
            if partition_of(user_channel(f"u{n}")) == partition_of(ALICE)
        ]
        blank, used = sharing[:2]
        _, position = await node.publish(channel=used)
        reads: dict[Any, Position | None] = {blank: None, used: None}
        heads = await node.backend.events.read(reads, max_events=9, max_bytes=99)
        await node.publish()
        for _ in range(2):  # an erased channel may be erased again
            await node.backend.events.erase(ALICE)
        after = {channel: page.head for channel, page in heads.items()}
        assert after[used] == position
        pages = await node.backend.events.read(after, max_events=9, max_bytes=99)
        assert [page.reset_reason for page in pages.values()] == [None, None]

    async def test_repeated_publish_brings_no_event_back(self, node: Node) -> None:
        """The idempotency keys of publishes outlive the erasure of the events."""
        await node.publish(idempotency_key="k")
        await node.backend.events.erase(ALICE)
        assert (await node.publish(idempotency_key="k"))[0] is Outcome.DUPLICATE
        assert (await node.page(None)).head.offset == 0

    async def test_erased_answers(self, node: Node) -> None:
        """Records, keys, lists and chats lose the answers of the user, and only those."""
        store = node.backend.generations
        own = msgspec.structs.replace(REQUEST, chat="c1")
        first = await _start(node, request=own, key="k1")
        await _end(node, first)
        second = await _start(node, request=own, key="k2")
        others = await _start(node, "bob", CHAT, key="k1")
        in_room = await _start(node, request=CHAT, key="k1")
        own_ids = [first.generation, second.generation, in_room.generation]
        assert set(await store.list_kept("alice")) == set(own_ids)
        await store.erase("alice")
        assert [await store.find(each) for each in own_ids] == [None] * 3
        assert await store.list_kept("alice") == []
        assert await store.list_of_user("alice", _ALL) == []
        assert await store.newest_of_chat("alice", "c1") is None
        assert [each.id for each in await store.list_of_user("bob", _ALL)] == [others.generation]
        assert [each.id for each in await store.take_open(0.0)] == [others.generation]
        again = await _start(node, request=own, key="k2")
        assert again.new
        assert again.generation not in own_ids
        assert (await _start(node, "bob", CHAT, key="k1")).generation == others.generation

    async def test_deleted_answer_leaves_nothing(self, node: Node) -> None:
        """Its idempotency key starts another answer, and its chat has the answer before it."""
        store = node.backend.generations
        own = msgspec.structs.replace(REQUEST, chat="c1")
        first, second = [await _start(node, request=own, key=key) for key in ("k1", "k2")]
        await _end(node, second)
        assert await store.delete(second.generation)
        assert await store.newest_of_chat("alice", "c1") == first.generation
        assert (await _start(node, request=own, key="k1")).generation == first.generation
        again = await _start(node, request=REQUEST, key="k2")  # another request: no conflict
        assert again.new

    async def test_worker_of_an_erased_answer_writes_nothing(self, node: Node) -> None:
        """A part that a worker publishes afterwards is refused."""
        created = await _start(node)
        await _update(node, created, UpdateKind.BEGIN)
        await node.backend.generations.erase("alice")
        delta = await _update(node, created, UpdateKind.DELTA, entries=b'{"t":"x"}')
        assert delta is Outcome.NO_RECORD

    async def test_erased_usage(self, node: Node) -> None:
        """The totals of the day lose those of the user."""
        usage = node.backend.usage
        for user, model in (("a", "m"), ("a", "m 2"), ("b", "m")):
            await usage.add(UsageTotals(day="2026-01-31", user=user, model=model, answers=1))
        await usage.erase("2026-01-31", "a")
        assert [each.user for each in await usage.read("2026-01-31", None)] == ["b"]
        await usage.add(UsageTotals(day="2026-01-31", user="a", model="m", answers=1))
        assert [each.answers for each in await usage.read("2026-01-31", "a")] == [1]

    async def test_erased_tickets(self, node: Node) -> None:
        """They open nothing any more, whether they were used or not."""
        tickets = node.backend.tickets
        own_ticket, other_ticket = [
            Ticket(user=user, topics=(), expires_at=1.0, token_id=None) for user in ("a", "b")
        ]
        await tickets.put("used", own_ticket, 60.0, 600.0)
        await tickets.put("unused", own_ticket, 60.0, 600.0)
        await tickets.put("others", other_ticket, 60.0, 600.0)
        await tickets.consume("used")
        assert list(await tickets.list_of_user("a")) == [own_ticket, own_ticket]
        await tickets.erase("a")
        assert list(await tickets.list_of_user("a")) == []
        assert await tickets.consume("used") is None
        assert await tickets.consume("unused") is None
        assert await tickets.consume("others") is not None

    async def test_erased_budget(self, node: Node) -> None:
        """The sum begins anew."""
        budgets = node.backend.budgets
        assert await budgets.charge("a", 10, 15) == 0
        assert await budgets.read("a") == 10
        await budgets.erase("a")
        assert await budgets.read("a") == 0
        assert await budgets.charge("a", 10, 15) == 0


async def _start(
    node: Node, user: str = "alice", request: GenerationRequest = REQUEST, key: str | None = None
) -> CreatedGeneration:
    channel = user_channel(user) if request.topic is None else ROOM
    record = Generation(new_generation_id(partition_of(channel)), user, request)
    return await node.backend.generations.create(record, key, OnBusy.ALLOW)


async def _update(node: Node, created: CreatedGeneration, kind: UpdateKind, **more: Any) -> Outcome:
    update = GenerationUpdate(created.generation, 1, kind, **more)
    outcome, _ = await node.publish('{"by":"x"}', update=update)
    return outcome


async def _end(node: Node, created: CreatedGeneration) -> None:
    await _update(node, created, UpdateKind.BEGIN)
    outcome = await _update(node, created, UpdateKind.END, status=Status.DONE)
    assert outcome is Outcome.WRITTEN
