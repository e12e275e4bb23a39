"""The routes of inboxes: publishing items, reading and changing them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from tests.http.kit import Hub, check_described, running_hub


async def test_published_item_is_read_and_marked() -> None:
    """The routes of users: the list, the changes, and the counts with their position."""
    async with running_hub() as hub, hub.stream("/sse/connect/alice?cursor=start") as stream:
        status, published = await hub.publish(
            to={"user": "alice"}, data={"title": "x"}, inbox={"category": "exports", "key": "7"}
        )
        assert status == 200
        status, inbox = await hub.call("GET", "/inbox?user=alice")
        (item,) = inbox["items"]
        assert (status, published["published"][0]["item"]) == (200, item["id"])
        assert {**item, "id": "", "created_at": 0} == {
            "id": "",
            "event": "notification",
            "data": {"title": "x"},
            "category": "exports",
            "key": "7",
            "topic": None,
            "created_at": 0,
            "seen": False,
            "read": False,
            "archived": False,
        }
        assert (inbox["unread"], inbox["unseen"], inbox["next"]) == (1, 1, None)
        assert (inbox["topic_unread"], inbox["topic_unseen"]) == (0, 0)
        changed: Any = {}
        for change, target, counts in (
            ("seen", {"up_to": item["id"]}, (1, 0)),
            ("read", {"items": [item["id"]]}, (0, 0)),
            ("unread", {"category": "exports"}, (1, 0)),
            ("archive", {"items": [item["id"]]}, (0, 0)),
            ("unarchive", {"items": [item["id"], "5-0"]}, (1, 0)),
            ("delete", {"items": [item["id"]], "up_to": None}, (0, 0)),
        ):
            status, changed = await _change(hub, change, target)
            assert (status, changed["unread"], changed["unseen"]) == (200, *counts)
        events = [await stream.next() for _ in range(8)]
        names = ["notification", "inbox.item", *["inbox.changed"] * 6]
        assert [event.name for event in events] == names
        for event in events[1:]:
            check_described(event.name, json.loads(event.data))
        assert events[-1].id.startswith(changed["cursor"].rstrip("."))
        assert (await hub.call("GET", "/inbox?user=alice"))[1]["items"] == []


async def test_internal_routes_do_the_same() -> None:
    """A backend reads and changes the inbox of any user, with the scopes read and publish."""
    keys = ApiKeys(
        [
            ApiKey(scope, hash_key(scope), frozenset({scope}))  # the key has the name of its scope
            for scope in ("read", "publish")
        ]
    )
    async with running_hub(keys=keys) as hub:

        async def call(key: str, method: str, path: str, **more: Any) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {key}"}
            return await hub.call(method, path, internal=True, headers=headers, **more)

        body = {"to": {"users": ["alice", "bob"]}, "inbox": True}
        assert (await call("publish", "POST", "/publish", json=body))[0] == 200
        _, inbox = await call("read", "GET", "/users/bob/inbox?unread=true&limit=1")
        target = {"up_to": inbox["items"][0]["id"]}
        _, counts = await call("publish", "POST", "/users/bob/inbox/read", json=target)
        assert (inbox["unread"], counts["unread"]) == (1, 0)
        assert (await call("publish", "GET", "/users/bob/inbox"))[0] == 403
        assert (await call("read", "POST", "/users/bob/inbox/read", json=target))[0] == 403
        assert (await call("read", "GET", "/users/alice/inbox"))[1]["unread"] == 1


async def test_pages() -> None:
    """`next` leads through all items, also in a batch's order."""
    async with running_hub() as hub:
        items = [{"to": {"user": "alice"}, "data": n, "inbox": True} for n in range(5)]
        await hub.call("POST", "/publish/batch", internal=True, json=items)
        read, before = [], ""
        while True:
            _, page = await hub.call("GET", f"/inbox?user=alice&limit=2&before={before}")
            read += [item["data"] for item in page["items"]]
            before = page["next"]
            if before is None:
                break
    assert read == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("inbox", "path"),
    [
        ({"category": ""}, "inbox.category"),
        ({"category": "a\nb"}, "inbox.category"),
        ({"category": "c" * 129}, "inbox.category"),
        ({"key": ""}, "inbox.key"),
        ({"key": "k" * 257}, "inbox.key"),
        ({"expires_seconds": 0}, "inbox.expires_seconds"),
        ({"expires_seconds": "1"}, "inbox.expires_seconds"),
        ({"expires_seconds": 1e9}, "inbox.expires_seconds"),
        ({"required": 1}, "inbox.required"),
        ({"unknown": 1}, "inbox.unknown"),
        ("yes", "inbox"),
    ],
)
async def test_options_that_are_wrong(inbox: Any, path: str) -> None:
    """A 400 names the field, and nothing is published."""
    async with running_hub() as hub:
        status, problem = await hub.publish(to={"user": "alice"}, inbox=inbox)
        assert (status, problem["path"]) == (400, path)
        assert (await hub.call("GET", "/users/alice/events", internal=True))[1]["events"] == []


@pytest.mark.parametrize("inbox", [None, False, {}, {"category": None, "key": None}])
async def test_null_is_absent(inbox: Any) -> None:
    """`false` and null keep nothing, an empty object keeps the event."""
    async with running_hub() as hub:
        assert (await hub.publish(to={"user": "alice"}, inbox=inbox))[0] == 200
        _, page = await hub.call("GET", "/inbox?user=alice")
    assert len(page["items"]) == (1 if isinstance(inbox, dict) else 0)


async def test_large_item() -> None:
    """Data that may be published can be too large to be kept."""
    async with running_hub() as hub:
        data = "x" * 20_000
        assert (await hub.publish(to={"user": "alice"}, data=data))[0] == 200
        status, problem = await hub.publish(to={"user": "alice"}, data=data, inbox=True)
    assert (status, problem["code"], problem["path"]) == (413, "data_too_large", "data")
    assert "16384" in problem["detail"]


async def test_reserved_names() -> None:
    """A publisher cannot send the hub's own events."""
    async with running_hub() as hub:
        status, problem = await hub.publish(to={"user": "alice"}, event="inbox.item")
    assert (status, problem["code"]) == (400, "invalid_event_name")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "items"),
        ({"items": [], "category": "a"}, "items"),
        ({"items": ["x"]}, "items[0]"),
        ({"items": [None]}, "items[0]"),
        ({"items": ["5-0"] * 201}, "items"),
        ({"up_to": ""}, "up_to"),
        ({"up_to": "5-0 "}, "up_to"),
        ({"category": ""}, "category"),
        ({"before": "5-0"}, "before"),
    ],
)
async def test_changes_that_are_wrong(body: Any, path: str) -> None:
    """A 400 names the field."""
    async with running_hub() as hub:
        status, problem = await _change(hub, "read", body)
    assert (status, problem["path"]) == (400, path)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("unread=yes", "unread"),
        ("archived=1", "archived"),
        ("before=x", "before"),
        ("before=1-2-3", "before"),
        ("category=%0a", "category"),
    ],
)
async def test_queries_that_are_wrong(query: str, path: str) -> None:
    """A 400 names the parameter."""
    async with running_hub() as hub:
        status, problem = await hub.call("GET", f"/inbox?user=alice&{query}")
    assert (status, problem["path"]) == (400, path)


async def test_unknown_changes() -> None:
    """Only the changes that exist are routes."""
    async with running_hub() as hub:
        assert (await _change(hub, "expire", {"items": []}))[0] == 404
        assert (await hub.call("GET", "/inbox/read?user=alice"))[0] == 405


async def _change(hub: Hub, change: str, body: Any) -> tuple[int, Any]:
    return await hub.call("POST", f"/inbox/{change}?user=alice", json=body)
