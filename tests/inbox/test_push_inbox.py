"""What push notifications ask the inbox."""

from __future__ import annotations

import pytest

from hub.core.channel import Channel, topic_channel, user_channel
from hub.core.cursor import Position
from hub.core.deliveries import PUSH_QUEUE, Delivery, new_delivery_id
from hub.core.inbox import ChangeTarget, InboxOptions, ItemChange
from hub.core.inbox_settings import MutedCategories
from hub.core.metrics import Counter
from hub.inbox.inboxes import Inboxes
from hub.inbox.push_inbox import StoredPushInbox
from hub.ports.events import Publication
from hub.testing.backend import MemoryBackend


async def _publish(backend: MemoryBackend, channel: Channel) -> Position:
    push = Delivery(
        queue=PUSH_QUEUE, channel=channel, lane="x", id=new_delivery_id(channel), body=b"x"
    )
    options = InboxOptions(key="k", category="c")
    (published,) = await backend.events.publish(
        [Publication(channel=channel, name="n", data=b"1", inbox=options, deliveries=[push])]
    )
    assert published.position is not None
    return published.position


@pytest.mark.parametrize("channel", [user_channel("alice"), topic_channel("news")])
@pytest.mark.parametrize("change", [ItemChange.READ, ItemChange.ARCHIVE, ItemChange.DELETE])
async def test_item_that_nobody_needs(channel: Channel, change: ItemChange) -> None:
    """It is read, archived or deleted by that user, or replaced."""
    backend = MemoryBackend()
    inboxes = Inboxes(backend.inboxes, max_topics=9, changes=Counter("n", "h", "change"))
    push_inbox = StoredPushInbox(backend.inboxes)
    await inboxes.subscribe("alice", ["news"])
    first = await _publish(backend, channel)
    assert not await push_inbox.is_read("alice", channel, first)
    second = await _publish(backend, channel)
    assert await push_inbox.is_read("alice", channel, first)
    for step in (ItemChange.SEEN, change):
        assert not await push_inbox.is_read("alice", channel, second)
        await inboxes.change("alice", step, ChangeTarget(category="c"), lambda topic: True)
    assert await push_inbox.is_read("alice", channel, second)
    if channel == topic_channel("news"):
        assert not await push_inbox.is_read("bob", channel, second)


async def test_category_that_only_the_inbox_has_muted() -> None:
    """Nothing is kept of it, which does not mean that it is read: push has a list of its own."""
    backend, channel = MemoryBackend(), user_channel("alice")
    push_inbox = StoredPushInbox(backend.inboxes)
    await backend.inboxes.mute("alice", MutedCategories(inbox=["c"]))
    position = await _publish(backend, channel)
    assert not await push_inbox.is_read("alice", channel, position, category="c")
    assert await push_inbox.is_read("alice", channel, position)  # a required one is always kept
    topic = topic_channel("news")
    await _publish(backend, topic)
    replaced = Position("x", 1)
    assert await push_inbox.is_read("alice", topic, replaced, category="c")


async def test_settings() -> None:
    """Muted categories, and the users of a topic."""
    backend = MemoryBackend()
    push_inbox = StoredPushInbox(backend.inboxes)
    await backend.inboxes.mute("alice", MutedCategories(inbox=["a"], push=["b"]))
    assert [await push_inbox.is_muted("alice", name) for name in "ab"] == [False, True]
    for user in "cab":
        await backend.inboxes.subscribe(user, ["news"])
    assert await push_inbox.topic_users("news", "a", 9) == ["b", "c"]
