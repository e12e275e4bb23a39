"""Devices that only read the events of a user's channel know the user's inbox."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from hub.core.inbox import ChangeTarget, InboxOptions, ItemChange, parse_item_id
from hub.ports.inbox import ItemFilter
from hub.testing.backend import MemoryBackend
from hub.testing.contracts.inboxes import FoldedInbox, replay
from hub.testing.contracts.node import Node
from tests.properties import limit_examples

CHANGES = [change for change in ItemChange if change is not ItemChange.EXPIRE]
CATEGORIES = st.sampled_from(["", "a", "b"])


class Devices(RuleBasedStateMachine):
    """Publishes, changes and the passing of time in any order, on an inbox of four items. One
    device follows the stream; the other ones return with their cursors now and then.
    """

    items = Bundle("items")

    @initialize()
    def open(self) -> None:
        """Open an empty inbox on three devices."""
        self.now = 1_000_000.0
        self.node = Node(MemoryBackend(now=lambda: self.now, inbox_max_items=4), listens=False)
        self.devices = [FoldedInbox() for _ in range(3)]

    @rule(
        target=items,
        category=CATEGORIES,
        key=st.sampled_from(["", "", "k", "l"]),
        expires=st.sampled_from([None, 5.0, 50.0]),
    )
    def publish(self, category: str, key: str, expires: float | None) -> str:
        """Keep an event; it may replace another one."""
        options = InboxOptions(category=category, key=key, expires_seconds=expires)
        self.run(self.node.publish(inbox=options))
        newest: str = self.read().items[0].id
        return newest

    @rule(change=st.sampled_from(CHANGES), ids=st.lists(items, min_size=1, max_size=3))
    def change_items(self, change: ItemChange, ids: list[str]) -> None:
        """Change items, some of which may not exist any more."""
        self.change(change, items=[parse_item_id(each, path="id") for each in ids])

    @rule(change=st.sampled_from(CHANGES), item=items)
    def change_older(self, change: ItemChange, item: str) -> None:
        """Change an item and all older ones."""
        self.change(change, up_to=parse_item_id(item, path="id"))

    @rule(change=st.sampled_from(CHANGES), category=st.sampled_from(["a", "b"]))
    def change_category(self, change: ItemChange, category: str) -> None:
        """Change all items of a category."""
        self.change(change, category=category)

    @rule(seconds=st.sampled_from([0.0005, 3.0, 30.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass; items expire."""
        self.now += seconds

    @rule(device=st.integers(1, 2))
    def reconnect(self, device: int) -> None:
        """A device returns with its cursor."""
        page = self.read()
        self.run(replay(self.node, self.devices[device]))
        self.devices[device].check(page)

    @invariant()
    def connected_device_agrees(self) -> None:
        """The device that follows the stream has what the route returns, at the same position."""
        page = self.read()
        self.run(replay(self.node, self.devices[0]))
        self.devices[0].check(page)
        assert self.devices[0].position == page.counts.position

    def change(self, change: ItemChange, **target: Any) -> None:
        """Change items, and check that the result has the counts of the inbox."""
        store = self.node.backend.inboxes
        changed = self.run(store.change("alice", change, ChangeTarget(**target)))
        assert changed.counts == self.read().counts

    def read(self) -> Any:
        """Read all items."""
        return self.run(self.node.backend.inboxes.read("alice", ItemFilter(limit=100)))

    @staticmethod
    def run(coroutine: Any) -> Any:
        """Run a coroutine that does not wait: the backend is in memory."""
        try:
            coroutine.send(None)
        except StopIteration as result:
            return result.value
        raise AssertionError("the backend in memory must not wait")


TestDevices = Devices.TestCase
TestDevices.settings = settings(
    max_examples=limit_examples(25), stateful_step_count=25, deadline=None
)
