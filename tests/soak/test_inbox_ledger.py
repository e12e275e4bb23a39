"""The ledger of the inbox soak finds what it is made to find."""

from __future__ import annotations

from typing import Any

from tests.soak.inbox_ledger import DeviceState, ExpectedInbox, InboxLedger


def item(n: int, key: str | None = None, **state: bool) -> dict[str, Any]:
    return {"id": f"{n}-0", "data": {"n": n}, "key": key, "read": False, "archived": False, **state}


def device(ledger: InboxLedger, *items: dict[str, Any]) -> DeviceState:
    unread = sum(not (each["read"] or each["archived"]) for each in items)
    return DeviceState("d", ledger, {"items": items, "unread": unread, "cursor": "c"})


def changed(change: str, *numbers: int, unread: int) -> dict[str, Any]:
    return {"change": change, "items": [f"{n}-0" for n in numbers], "unread": unread}


def test_device_that_follows_is_what_is_expected() -> None:
    """Publishing, replacing, reading, archiving and deleting have the same result on both sides."""
    ledger, expected = InboxLedger(), ExpectedInbox()
    state = device(ledger)
    for n, key, unread in ((1, "k", 1), (2, None, 2), (3, "k", 2), (4, None, 3)):
        expected.publish(n, key)
        added = {"item": item(n, key), "replaced": n == 3, "unread": unread}
        state.apply("inbox.item", added)
    for change, n, unread in (("read", 2, 2), ("archive", 3, 1), ("delete", 4, 0)):
        expected.change(change, [n])
        state.apply("inbox.changed", changed(change, n, unread=unread))
    assert state.view() == expected.view()
    ledger.compare("d", expected.view(), state.view())
    assert ledger.is_clean


def test_violations() -> None:
    """An item twice, one that is lost, one that is unread again, and a wrong count are found."""
    ledger, expected = InboxLedger(), ExpectedInbox()
    for n in (1, 2):
        expected.publish(n, None)
    expected.change("read", [1])
    state = device(ledger, item(1), item(3))
    state.apply("inbox.item", {"item": item(3), "replaced": False, "unread": 2})
    state.apply("inbox.changed", changed("read", 9, unread=7))
    ledger.compare("d", expected.view(), state.view())
    assert dict(ledger.violations) == {
        "lost": 1, "twice": 1, "not deleted": 1, "read again unread": 1, "wrong count": 1,
    }  # fmt: skip
    assert not ledger.is_clean
