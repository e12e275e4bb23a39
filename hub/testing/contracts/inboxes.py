"""What every store of inboxes must do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from hub.core.channel import ALL, topic_channel
from hub.core.cursor import Position
from hub.core.deliveries import PUSH_QUEUE, Delivery, new_delivery_id
from hub.core.event import Event
from hub.core.inbox import (
    ChangeTarget,
    InboxItem,
    InboxOptions,
    ItemChange,
    ItemFlags,
    ItemId,
    item_source,
    push_delivery_id,
)
from hub.core.inbox import parse_item_id as parse_id
from hub.core.inbox_settings import InboxSettings, MutedCategories
from hub.ports.events import FROM_START, Outcome, Publication
from hub.ports.inbox import ChangedItems, InboxPage, ItemFilter, SharedChange
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend

KEPT: Final = InboxOptions()
_CHANGES: Final = [change for change in ItemChange if change is not ItemChange.EXPIRE]


class _NewItem(msgspec.Struct):
    item: InboxItem


class FoldedInbox:
    """What a device knows of an inbox that only reads the events of the user's channel."""

    def __init__(self) -> None:
        self.items: list[InboxItem] = []  # the newest first
        self.unread = self.unseen = 0
        self.position: Position = FROM_START

    def apply(self, event: Event) -> None:
        """Apply one event."""
        if not event.name.startswith("inbox."):
            return
        data = msgspec.json.decode(event.data)
        self.unread, self.unseen = data["unread"], data["unseen"]
        if event.name == "inbox.item":
            item = msgspec.json.decode(event.data, type=_NewItem).item
            if data["replaced"]:
                self.items = [each for each in self.items if each.key != item.key]
            self.items.insert(0, _with_plain_data(item))
            return
        change = ItemChange(data["change"])
        if change.removes:
            self.items = [each for each in self.items if each.id not in data["items"]]
            return
        for n, item in enumerate(self.items):
            if item.id in data["items"]:
                after = change.apply(ItemFlags(item.seen, item.read, item.archived))
                fields = msgspec.structs.asdict(after)
                self.items[n] = msgspec.structs.replace(item, **fields)

    def check(self, page: InboxPage) -> None:
        """Raise AssertionError if the inbox is not what the device thinks."""
        assert self.items == [_with_plain_data(item) for item in page.items]
        assert (self.unread, self.unseen) == (page.counts.unread, page.counts.unseen)
        flags = [ItemFlags(each.seen, each.read, each.archived) for each in page.items]
        assert self.unread == sum(each.is_unread for each in flags)
        assert self.unseen == sum(each.is_unseen for each in flags)


def _with_plain_data(item: InboxItem) -> Any:
    data: Any = item.data
    if isinstance(data, msgspec.Raw):
        data = msgspec.json.decode(data)
    return msgspec.structs.replace(item, data=data)


class InboxesContract:
    """The suite for the items of users, topics and `all`."""

    @pytest.fixture
    async def node(self, open_backend: OpenBackend) -> Node:
        """A node on an empty backend, whose inboxes keep five items."""
        return Node(await open_backend(BackendOptions(inbox_max_items=5)))

    async def test_event_is_kept_beside_its_delivery(self, node: Node) -> None:
        """The event and its item are in the log, and the counts belong to the item's position."""
        options = InboxOptions(category="exports", key="export-7")
        outcome, position = await node.publish('{"title":"é","n":1.50}', inbox=options)
        page = await _read(node)
        (item,) = page.items
        assert outcome is Outcome.WRITTEN
        assert (item.event, bytes(item.data)) == ("n", '{"title":"é","n":1.50}'.encode())
        assert (item.category, item.key, item.topic) == ("exports", "export-7", None)
        assert _flags(item) == ""
        assert (page.counts.unread, page.counts.unseen) == (1, 1)
        first, second = (await node.page(FROM_START)).events
        assert (first.name, first.position) == ("n", position)
        assert (second.name, second.position) == ("inbox.item", page.counts.position)
        event = msgspec.json.decode(second.data)
        assert event == {
            "item": msgspec.to_builtins(_with_plain_data(item)),
            "replaced": False,
            "unread": 1,
            "unseen": 1,
        }

    async def test_subscribers_receive_both(self, node: Node) -> None:
        """The item's event arrives behind the one that is kept."""
        await node.backend.subscriptions.subscribe([ALICE])
        await node.publish(inbox=KEPT)
        received = [await node.next(), await node.next()]
        assert [event.name for event in received] == ["n", "inbox.item"]
        offsets = [event.position.offset for event in received if event.position]
        assert offsets == [1, 2]

    async def test_result_names_the_item(self, node: Node) -> None:
        """A repeated publish keeps nothing more."""
        publication = Publication(
            channel=ALICE, name="n", data=b"1", inbox=KEPT, idempotency_key="k"
        )
        (first,) = await node.backend.events.publish([publication])
        (second,) = await node.backend.events.publish([publication])
        (item,) = (await _read(node)).items
        assert first.item == item.id
        assert (second.outcome, second.item) == (Outcome.DUPLICATE, None)

    async def test_ephemeral_event_is_kept(self, node: Node) -> None:
        """Only its delivery is live; the item's event is stored."""
        await node.publish(inbox=KEPT, ephemeral=True)
        assert len((await _read(node)).items) == 1
        assert [e.name for e in (await node.page(FROM_START)).events] == ["inbox.item"]

    async def test_pages_of_single_events(self, node: Node) -> None:
        """A client continues after any event of a step, also between those of an item, with the
        events that the subscribers got.
        """
        await node.backend.subscriptions.subscribe([ALICE])
        for n in range(6):  # the last one removes the oldest item
            await node.publish(str(n), inbox=InboxOptions(key="k" if n < 2 else ""))
        await node.publish("6", inbox=KEPT, ephemeral=True)
        await node.publish("7", inbox=KEPT)
        stored = (await node.page(FROM_START)).events
        names = [event.name for event in stored]
        item = ["inbox.changed", "inbox.item"]
        assert names == ["n", "inbox.item"] * 6 + item + ["n", *item]
        received = [await node.next() for _ in range(len(stored) + 1)]  # one is ephemeral
        assert [(event.position, event.data) for event in received if event.position] == [
            (event.position, event.data) for event in stored
        ]
        position = FROM_START
        for event in stored:
            page = await node.page(position, 1)
            assert ([*page.events], page.end) == ([event], event.position)
            assert event.position is not None
            position = event.position

    async def test_item_outlives_its_event(self, node: Node) -> None:
        """An event with a time to live leaves the log; that of its item stays."""
        (published,) = await node.backend.events.publish(
            [Publication(channel=ALICE, name="n", data=b"1", inbox=KEPT, ttl_seconds=0.001)]
        )
        while [event.name for event in (await node.page(FROM_START)).events] != ["inbox.item"]:
            pass  # the event has a millisecond
        assert [item.id for item in (await _read(node)).items] == [published.item]

    async def test_key_replaces_and_makes_unread(self, node: Node) -> None:
        """The new item has an id of its own, so that a late change of the old one misses it."""
        progress = InboxOptions(key="job")
        await node.publish("1", inbox=progress)
        await node.publish("2", inbox=KEPT)
        (old,) = (item for item in (await _read(node)).items if item.key)
        await _change(node, ItemChange.READ, old.id)
        await _change(node, ItemChange.ARCHIVE, old.id)
        await node.publish("3", inbox=progress)
        changed = await _change(node, ItemChange.READ, old.id)
        page = await _read(node)
        assert [bytes(item.data) for item in page.items] == [b"3", b"2"]
        assert page.items[0].id != old.id
        assert not page.items[0].archived
        assert (changed.items, page.counts.unread) == ([], 2)
        names = [event.name for event in (await node.page(FROM_START)).events]
        assert names == ["n", "inbox.item"] * 2 + ["inbox.changed"] * 2 + ["n", "inbox.item"]

    async def test_changes(self, node: Node) -> None:
        """Each change sets the flags and the counts, and says so in one event."""
        await node.publish(inbox=KEPT)
        (item,) = (await _read(node)).items
        for change, flags, counts in (
            (ItemChange.SEEN, "seen", (1, 0)),
            (ItemChange.READ, "seen read", (0, 0)),
            (ItemChange.UNREAD, "seen", (1, 0)),
            (ItemChange.ARCHIVE, "seen archived", (0, 0)),
            (ItemChange.UNARCHIVE, "seen", (1, 0)),
            (ItemChange.READ, "seen read", (0, 0)),
        ):
            changed = await _change(node, change, item.id)
            page = await _read(node)
            assert _flags(page.items[0]) == flags
            assert (page.counts.unread, page.counts.unseen) == counts
            assert changed == ChangedItems([item.id], page.counts)
            *_, last = (await node.page(FROM_START)).events
            assert last.position == changed.counts.position
            assert msgspec.json.decode(last.data) == {
                "unread": counts[0],
                "unseen": counts[1],
                "items": [item.id],
                "change": change.value,
            }
        assert (await _change(node, ItemChange.DELETE, item.id)).items == [item.id]
        assert (await _read(node)).items == []

    async def test_read_is_seen(self, node: Node) -> None:
        """Whoever has read an item has seen it."""
        await node.publish(inbox=KEPT)
        counts = (await _change(node, ItemChange.READ, up_to=await _newest(node))).counts
        assert (counts.unread, counts.unseen) == (0, 0)

    async def test_change_of_nothing_is_no_event(self, node: Node) -> None:
        """A change that is repeated, or of an item that does not exist."""
        await node.publish(inbox=KEPT)
        (item,) = (await _read(node)).items
        first = await _change(node, ItemChange.READ, item.id)
        for items in ([item.id], ["5-0"], []):
            again = await _change(node, ItemChange.READ, *items)
            assert again == ChangedItems([], first.counts)
        last = ChangeTarget(up_to=ItemId(0, 0))
        changed = await node.backend.inboxes.change("alice", ItemChange.DELETE, last)
        assert changed == ChangedItems([], first.counts)

    async def test_targets(self, node: Node) -> None:
        """Items, everything up to an item with it, and a category."""
        for category in ("a", "b", "", "b"):
            await node.publish(inbox=InboxOptions(category=category))
        ids = [item.id for item in (await _read(node)).items]
        read = await _change(node, ItemChange.READ, ids[0], ids[0], ids[3])
        assert sorted(read.items) == sorted([ids[0], ids[3]])
        assert (await _change(node, ItemChange.SEEN, up_to=ids[2])).items == [ids[2]]
        assert (await _change(node, ItemChange.ARCHIVE, category="b")).items == [ids[2], ids[0]]
        assert (await _change(node, ItemChange.DELETE, up_to=ids[1])).items == ids[:0:-1]
        assert [item.id for item in (await _read(node)).items] == ids[:1]

    async def test_filters(self, node: Node) -> None:
        """By category, unread ones, and with or without archived ones."""
        for category in ("a", "b", "b", "b"):
            await node.publish(inbox=InboxOptions(category=category))
        new, middle, old, other = (item.id for item in (await _read(node)).items)
        await _change(node, ItemChange.READ, new)
        await _change(node, ItemChange.ARCHIVE, middle)
        assert await _ids(node, category="b") == [new, middle, old]
        assert await _ids(node, unread=True) == [old, other]
        assert await _ids(node, unread=True, category="b") == [old]
        assert await _ids(node, archived=True) == [middle]
        assert await _ids(node, archived=False, limit=2) == [new, old]

    async def test_pages_stay_right_while_items_arrive(self, node: Node) -> None:
        """A page begins before an item, also when newer ones come and that one is deleted."""
        for n in range(5):
            await node.publish(str(n), inbox=KEPT)
        first = await _read(node, limit=2)
        assert [bytes(item.data) for item in first.items] == [b"4", b"3"]
        last = parse_id(first.items[-1].id, path="id")
        await _change(node, ItemChange.DELETE, str(last))
        await node.publish("5", inbox=KEPT)
        second = await _read(node, limit=2, before=last)
        assert [bytes(item.data) for item in second.items] == [b"2", b"1"]

    async def test_devices_that_choose_topics_at_once(self, node: Node) -> None:
        """The users of a topic are those who have it in their settings at the end."""
        store = node.backend.inboxes
        for n in range(20):
            user, lists = f"u{n}", (["a"], ["b"], ["a"], ["b", "c"])
            await asyncio.gather(*(store.subscribe(user, topics) for topics in lists))
            chosen = [*(await store.settings(user)).topics]
            subscribed = [
                t for t in "abc" if user in await store.subscribers(t, after="", limit=99)
            ]
            assert subscribed == chosen

    async def test_bounds_of_ids(self, node: Node) -> None:
        """Any id ends a page or a change, also the first and the last one that can be written."""
        await node.publish("1", inbox=KEPT)
        for source in ("", "*"):
            first, last = (f"{at}{source}" for at in ("0-0", f"{'9' * 15}-{'9' * 9}"))
            for text, expected in ((first, 0), (last, 1)):
                item = parse_id(text, path="id")
                assert len((await _read(node, limit=2, before=item)).items) == expected
                changed = await _change(node, ItemChange.ARCHIVE, up_to=text)
                assert len(changed.items) == expected
            await _change(node, ItemChange.UNARCHIVE, await _newest(node))

    async def test_inbox_with_room_for_many_items_removes_several_at_once(
        self, open_backend: OpenBackend
    ) -> None:
        """It holds an eighth more than its number; then the oldest ones go together, and the counts
        are those of the items that are there.
        """
        node = Node(await open_backend(BackendOptions(inbox_max_items=16)))
        device = FoldedInbox()
        for n in range(18):
            await node.publish(str(n), inbox=InboxOptions(key="k" if n == 1 else ""))
        page = await _read(node)
        assert [bytes(item.data) for item in page.items] == [b"%d" % n for n in range(17, -1, -1)]
        first, third = page.items[-1].id, page.items[-3].id
        await _change(node, ItemChange.READ, first, third)
        await node.publish("18", inbox=InboxOptions(key="k"))  # replaces one of the oldest
        assert len((await _read(node)).items) == 18
        await node.publish("19", inbox=KEPT)
        page = await _read(node)
        assert [bytes(item.data) for item in page.items] == [b"%d" % n for n in range(19, 3, -1)]
        assert (page.counts.unread, page.counts.unseen) == (16, 16)
        await node.publish("20", inbox=InboxOptions(key="k"))
        assert len((await _read(node)).items) == 16
        for event in (await node.page(FROM_START, max_events=100)).events:
            device.apply(event)
        device.check(await _read(node))

    async def test_full_inbox_removes_the_oldest(self, node: Node) -> None:
        """An event says so before that of the new item; an item that is replaced makes room too."""
        for n in range(6):
            await node.publish(str(n), inbox=InboxOptions(key=f"k{n}"))
        page = await _read(node)
        assert [bytes(item.data) for item in page.items] == [b"5", b"4", b"3", b"2", b"1"]
        assert (page.counts.unread, page.counts.unseen) == (5, 5)
        *_, event, removal, item = (await node.page(FROM_START)).events
        assert [each.name for each in (event, removal, item)] == [
            "n",
            "inbox.changed",
            "inbox.item",
        ]
        removed = msgspec.json.decode(removal.data)
        assert (removed["change"], removed["unread"]) == ("expire", 4)
        await node.publish("9", inbox=InboxOptions(key="k1"))
        assert [bytes(item.data) for item in (await _read(node)).items][-1] == b"2"

    async def test_items_expire(self, node: Node) -> None:
        """The next use of the inbox removes them with an event."""
        await node.publish("1", inbox=KEPT)
        await node.publish("2", inbox=InboxOptions(expires_seconds=0.001, key="k"))
        while len((page := await _read(node)).items) > 1:  # the item has a millisecond
            pass
        assert [bytes(item.data) for item in page.items] == [b"1"]
        *_, last = (await node.page(FROM_START)).events
        assert (last.name, last.position) == ("inbox.changed", page.counts.position)
        assert msgspec.json.decode(last.data)["change"] == "expire"

    async def test_shared_inbox_is_written_once(self, node: Node) -> None:
        """A topic and `all` keep the item; their channels have only the event."""
        for channel in (topic_channel("news"), ALL):
            assert (await node.publish(channel=channel, inbox=KEPT))[0] is Outcome.WRITTEN
            pages = await node.backend.events.read(
                {channel: FROM_START}, max_events=9, max_bytes=1000
            )
            assert [event.name for event in pages[channel].events] == ["n"]
        assert (await _read(node)).items == []

    async def test_settings(self, node: Node) -> None:
        """Topics and muted categories are replaced; a topic that is left is forgotten."""
        store = node.backend.inboxes
        assert [*(await store.settings("alice")).topics] == []
        muted = MutedCategories(inbox=["ads", "news"], push=["x"])
        await store.mute("alice", muted)
        await store.subscribe("alice", ["a", "b", "c"])
        sources = [item_source(topic_channel(topic)) for topic in ("a", "c")]
        shared = SharedChange(dict.fromkeys([*sources, "*"], ("", "r=5-0 s=0-0")))
        nothing = ChangeTarget(items=[])
        assert await store.change("alice", ItemChange.READ, nothing, shared) is not None
        await store.subscribe("alice", ["c", "d"])
        kept = dict.fromkeys((sources[1], "*"), "r=5-0 s=0-0")
        expected = InboxSettings(topics=["c", "d"], muted=muted, shared=kept)
        assert await store.settings("alice") == expected == (await _read(node)).settings
        await store.mute("alice", MutedCategories(inbox=["ads"], push=[]))
        for category in ("ads", "news", "x", ""):
            await node.publish(f'"{category}"', inbox=InboxOptions(category=category))
        assert [item.category for item in (await _read(node)).items] == [None, "x", "news"]
        await node.publish(inbox=InboxOptions(category="ads", required=True))
        assert (await _read(node)).items[0].category == "ads"
        names = [event.name for event in (await node.page(FROM_START)).events]
        assert names == ["n"] + ["n", "inbox.item"] * 4

    async def test_subscribers_of_a_topic(self, node: Node) -> None:
        """Every user whose inbox shows it, in pages."""
        store = node.backend.inboxes
        users = [f"u{n}" for n in range(5)]
        for user in users:
            await store.subscribe(user, ["a", "b"])
        await store.subscribe("u1", ["b"])
        assert await store.subscribers("a", after="", limit=3) == ["u0", "u2", "u3"]
        assert await store.subscribers("a", after="u1", limit=3) == ["u2", "u3", "u4"]
        assert await store.subscribers("a", after="u4", limit=3) == []
        await store.erase("u2")
        assert await store.subscribers("a", after="u0", limit=1) == ["u3"]

    async def test_shared_items(self, node: Node) -> None:
        """They are listed without their data, and read with it."""
        store, news = node.backend.inboxes, topic_channel("news")
        for n in range(3):
            options = InboxOptions(category="c" * n, key="k" if n else "", required=n == 1)
            await node.publish(str(n), channel=news, inbox=options)
        await node.publish("4", channel=ALL, inbox=InboxOptions(expires_seconds=0.001))
        while (entries := await store.read_shared([news, ALL]))[ALL]:
            pass  # the item of `all` has a millisecond
        first, second = entries[news]
        assert first.id < second.id
        assert (first.category, second.category, second.required) == ("", "cc", False)
        missing = ItemId(5, 0, first.id.source)
        wanted = [(news, each, ItemFlags(seen=True)) for each in (second.id, missing, first.id)]
        items = await store.find_shared(wanted)
        assert [(item.id, bytes(item.data)) for item in items] == [
            (str(second.id), b"2"),
            (str(first.id), b"0"),
        ]
        assert [(item.topic, _flags(item)) for item in items] == [("news", "seen")] * 2

    async def test_change_of_shared_items(self, node: Node) -> None:
        """It is one event with the own items, and fails if another one came first."""
        store = node.backend.inboxes
        await node.publish(inbox=KEPT)
        own = ChangeTarget(up_to=parse_id(await _newest(node), path="id"))
        shared = SharedChange({"*": ("", "r=5-0 s=5-0")}, ["5-0*"])
        changed = await store.change("alice", ItemChange.READ, own, shared)
        assert changed is not None
        assert changed.items == ["5-0*", *(item.id for item in (await _read(node)).items)]
        *_, last = (await node.page(FROM_START)).events
        assert last.position == changed.counts.position
        assert msgspec.json.decode(last.data)["items"] == changed.items
        assert await store.change("alice", ItemChange.DELETE, own, shared) is None
        assert len((await _read(node)).items) == 1

    async def test_webhook_of_a_change(self, node: Node) -> None:
        """It is written in the step of the change, with the items, and only if one changed."""
        store, deliveries = node.backend.inboxes, node.backend.deliveries
        await node.publish(inbox=KEPT)
        await node.publish(inbox=KEPT)
        target = ChangeTarget(category="")
        webhook = Delivery(
            queue="webhook",
            channel=ALICE,
            lane="w",
            id=new_delivery_id(ALICE),
            body=b'{"type":"inbox.read","data":{"items":[]}}',
        )

        async def read(shared: SharedChange) -> ChangedItems | None:
            return await store.change("alice", ItemChange.READ, target, shared, [webhook])

        assert await read(SharedChange({"*": ("x", "")})) is None
        assert await read(SharedChange({"*": ("", "1-0")}, ["5-0*"])) is not None
        assert await read(SharedChange()) == ChangedItems([], (await _read(node)).counts)
        (waiting,) = await deliveries.take("webhook", 9, lease_seconds=9.0)
        items = [item.id for item in (await _read(node)).items]
        assert msgspec.json.decode(waiting.body)["data"]["items"] == ["5-0*", *reversed(items)]

    @pytest.mark.parametrize("change", [ItemChange.READ, ItemChange.DELETE, ItemChange.SEEN])
    async def test_reading_cancels_the_push(self, node: Node, change: ItemChange) -> None:
        """Also that of an item of a topic, whose push has an id that is made from the item's."""
        deliveries, topic_item = node.backend.deliveries, ItemId(5, 0, "~abcdef")

        def delivery(queue: str, delivery_id: str | None = None) -> Delivery:
            each = delivery_id or new_delivery_id(ALICE)
            return Delivery(queue=queue, channel=ALICE, lane=queue, id=each, body=b"x")

        sent = [delivery(PUSH_QUEUE), delivery("webhook")]
        _, position = await node.publish(inbox=KEPT, deliveries=sent)
        assert position is not None
        await deliveries.add([delivery(PUSH_QUEUE, push_delivery_id(ALICE, topic_item))])
        target = ChangeTarget(items=[parse_id(await _newest(node), path="id")])
        shared = SharedChange({}, [str(topic_item)])
        assert await node.backend.inboxes.change("alice", change, target, shared) is not None
        waiting = (await deliveries.counts(PUSH_QUEUE)).waiting
        assert waiting == (2 if change is ItemChange.SEEN else 0)
        assert (await deliveries.counts("webhook")).waiting == 1
        item = await node.backend.inboxes.find_item(ALICE, position)
        if change is ItemChange.DELETE:
            assert item is None
        else:
            read = change is ItemChange.READ
            assert target.items is not None
            assert item == (target.items[0], ItemFlags(seen=True, read=read))

    @pytest.mark.parametrize("seed", range(3))
    async def test_devices_agree(self, node: Node, seed: int) -> None:
        """Whatever happens in whatever order, a device that only reads the events knows the inbox,
        also one that returns later with its cursor.
        """
        chance = random.Random(seed)
        devices = [FoldedInbox(), FoldedInbox()]
        for _ in range(40):
            await _do_something(node, chance)
            page = await _read(node)
            for device in devices[: chance.choice((1, 1, 2))]:
                await replay(node, device)
                device.check(page)
                assert device.position == page.counts.position


async def replay(node: Node, device: FoldedInbox) -> None:
    """Give a device the events after its position."""
    page = await node.page(device.position, 1000)
    for event in page.events:
        device.apply(event)
    device.position = page.end


async def _do_something(node: Node, chance: random.Random) -> None:
    if chance.random() < 0.5:
        options = InboxOptions(
            key=chance.choice(("", "", "k1", "k2")),
            category=chance.choice(("", "a", "b")),
            expires_seconds=chance.choice((None, None, 0.001)),
        )
        await node.publish(str(chance.random()), inbox=options)
        return
    known = [item.id for item in (await _read(node)).items] or ["5-0"]
    change = chance.choice(_CHANGES)
    how = chance.choice(("items", "up_to", "category"))
    if how == "items":
        await _change(node, change, *chance.choices(known, k=chance.choice((1, 3))))
    elif how == "up_to":
        await _change(node, change, up_to=chance.choice(known))
    else:
        await _change(node, change, category=chance.choice(("a", "b")))


async def _read(node: Node, **which: Any) -> InboxPage:
    return await node.backend.inboxes.read("alice", ItemFilter(**{"limit": 100, **which}))


async def _ids(node: Node, **which: Any) -> list[str]:
    return [item.id for item in (await _read(node, **which)).items]


async def _newest(node: Node) -> str:
    return (await _ids(node))[0]


async def _change(
    node: Node, change: ItemChange, *items: str, up_to: str | None = None, **target: Any
) -> ChangedItems:
    if up_to is not None:
        target["up_to"] = parse_id(up_to, path="up_to")
    elif not target:
        target["items"] = _parse_all(items)
    changed = await node.backend.inboxes.change("alice", change, ChangeTarget(**target))
    assert changed is not None
    return changed


def _parse_all(items: Sequence[str]) -> list[ItemId]:
    return [parse_id(item, path="items") for item in items]


def _flags(item: InboxItem) -> str:
    return " ".join(name for name in ("seen", "read", "archived") if getattr(item, name))
