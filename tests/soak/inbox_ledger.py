"""What the inboxes of the soak test must contain, and what each device shows.

One driver per user publishes and changes items, one request after the other. Its requests may be
executed twice, and late, because the response of a node was lost: so it only does what is the same
the second time. An item is identified by the number in its data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_MAX_CASES = 10


class Shown(msgspec.Struct, frozen=True):
    """What is shown of an item. n: the number in its data."""

    n: int
    read: bool = False
    archived: bool = False

    @property
    def is_unread(self) -> bool:
        return not self.read and not self.archived


def unread_of(items: Iterable[Shown]) -> int:
    """Return how many items `unread` counts."""
    return sum(item.is_unread for item in items)


class ExpectedInbox:
    """The inbox of one user by what its driver did. Items by their key, `n<number>` without one."""

    def __init__(self) -> None:
        self.items: dict[str, Shown] = {}

    def view(self) -> dict[int, Shown]:
        """Return the items by number."""
        return {item.n: item for item in self.items.values()}

    def publish(self, n: int, key: str | None) -> None:
        self.items.pop(key or "", None)
        self.items[key or f"n{n}"] = Shown(n)

    def change(self, change: str, numbers: Iterable[int]) -> None:
        chosen = {*numbers}
        for name, item in list(self.items.items()):
            if item.n not in chosen:
                continue
            if change == "delete":
                del self.items[name]
            elif change == "read":
                self.items[name] = msgspec.structs.replace(item, read=True)
            else:
                self.items[name] = msgspec.structs.replace(item, archived=True)


class InboxLedger:
    """The totals."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.violations: Counter[str] = Counter(
            {"lost": 0, "twice": 0, "not deleted": 0, "read again unread": 0, "wrong count": 0}
        )
        self.cases: list[str] = []

    def add_violation(self, kind: str, what: str) -> None:
        """Record that something is wrong."""
        self.violations[kind] += 1
        if len(self.cases) < _MAX_CASES:
            self.cases.append(f"{kind}: {what}")

    def compare(self, name: str, expected: Mapping[int, Shown], shown: Mapping[int, Shown]) -> None:
        """Record what differs when nothing is in flight."""
        for n in expected.keys() - shown.keys():
            self.add_violation("lost", f"{name}: item {n}")
        for n in shown.keys() - expected.keys():
            self.add_violation("not deleted", f"{name}: item {n}")
        for n in expected.keys() & shown.keys():
            if shown[n] != expected[n]:
                self.add_violation("read again unread", f"{name}: {shown[n]}, not {expected[n]}")

    @property
    def is_clean(self) -> bool:
        return not any(self.violations.values())


class DeviceState:
    """What one device shows: a page of items, then the events."""

    def __init__(self, name: str, ledger: InboxLedger, page: Mapping[str, Any]) -> None:
        self._name = name
        self._ledger = ledger
        self._items: dict[str, tuple[str | None, Shown]] = {}  # by id, with the key
        for item in page["items"]:
            self._add(item)
        self.unread: int = page["unread"]
        self.cursor: str = page["cursor"]
        self._check_count("the page")

    def view(self) -> dict[int, Shown]:
        """Return the items by number."""
        return {item.n: item for _, item in self._items.values()}

    def apply(self, name: str, data: Mapping[str, Any]) -> None:
        """Take an event of the user's channel."""
        if name == "inbox.item":
            item = data["item"]
            if data["replaced"]:
                same = [each for each, (key, _) in self._items.items() if key == item["key"]]
                for each in same:
                    del self._items[each]
            self._add(item)
        elif name == "inbox.changed":
            for each in data["items"]:
                self._change(each, data["change"])
        else:
            return
        self.unread = data["unread"]
        self._check_count(name)

    def _add(self, item: Mapping[str, Any]) -> None:
        n = item["data"]["n"]
        if item["id"] in self._items or n in self.view():
            self._ledger.add_violation("twice", f"{self._name}: item {n}")
        self._items[item["id"]] = item["key"], Shown(n, item["read"], item["archived"])

    def _change(self, item_id: str, change: str) -> None:
        if item_id not in self._items:
            return
        key, shown = self._items[item_id]
        if change in ("delete", "expire"):
            del self._items[item_id]
        elif change == "read":
            self._items[item_id] = key, msgspec.structs.replace(shown, read=True)
        elif change == "archive":
            self._items[item_id] = key, msgspec.structs.replace(shown, archived=True)

    def _check_count(self, where: str) -> None:
        counted = unread_of(item for _, item in self._items.values())
        if counted != self.unread:
            self._ledger.add_violation(
                "wrong count", f"{self._name}: {where} says {self.unread} unread, not {counted}"
            )
