"""Items of topics and `all` in the inboxes of users, over HTTP."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

import jwt
import pytest

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.testing.backend import MemoryBackend
from tests.defaults import token_reader
from tests.http.kit import Hub, running_hub

SECRET: Final = "s" * 64


async def test_items_of_topics_are_merged() -> None:
    """In the order of all items, with counts of their own and what each user has done with them."""
    async with running_hub() as hub:
        for n, to in enumerate(
            ({"user": "alice"}, {"topic": "news"}, {"all": True}, {"topic": "other"})
        ):
            await hub.publish(to=to, data=n, inbox={"category": "c"})
        await _subscribe(hub, "alice", ["news"])
        inbox = await _read(hub, "alice")
        assert sorted(item["data"] for item in inbox["items"]) == [0, 1, 2]
        assert {item["data"]: item["topic"] for item in inbox["items"]} == {
            0: None,
            1: "news",
            2: None,
        }
        assert _counts(inbox) == (1, 1, 2, 2)
        assert _counts(await _read(hub, "bob")) == (0, 0, 1, 1)
        (news,) = (item["id"] for item in inbox["items"] if item["topic"])
        assert _counts(await _change(hub, "alice", "read", items=[news])) == (1, 1, 1, 1)
        assert _counts(await _change(hub, "alice", "archive", category="c")) == (0, 0, 0, 0)
        assert (await _read(hub, "alice", "archived=false"))["items"] == []
        assert _counts(await _change(hub, "alice", "unarchive", category="c")) == (1, 1, 1, 1)
        newest = inbox["items"][0]["id"]
        assert _counts(await _change(hub, "alice", "seen", up_to=newest)) == (1, 0, 1, 0)
        assert _counts(await _change(hub, "alice", "delete", items=[news])) == (1, 0, 1, 0)
        assert len((await _read(hub, "alice"))["items"]) == 2
        assert len((await _read(hub, "bob"))["items"]) == 1
        await _subscribe(hub, "alice", ["other"])
        assert 3 in [item["data"] for item in (await _read(hub, "alice"))["items"]]


async def test_devices_learn_what_happens_to_shared_items() -> None:
    """`inbox.changed` names them, with the counts of the user's own items."""
    async with running_hub() as hub, hub.stream("/sse/connect/alice") as stream:
        await hub.publish(to={"all": True}, inbox=True)
        inbox = await _read(hub, "alice")
        await _change(hub, "alice", "read", items=[inbox["items"][0]["id"]])
        assert (await stream.next()).name == "notification"
        event = await stream.next()
    assert event.name == "inbox.changed"
    assert inbox["items"][0]["id"] in event.data


async def test_pages_of_merged_items() -> None:
    """Each item is on one page, though items arrive meanwhile, and each page has its length."""
    async with running_hub() as hub:
        await _subscribe(hub, "alice", ["a", "b"])
        for n in range(9):
            to = ({"user": "alice"}, {"topic": "a"}, {"topic": "b"})[n % 3]
            await hub.publish(to=to, data=n, inbox=True)
        pages, before = [], ""
        while before is not None:
            page = await _read(hub, "alice", f"limit=4&before={before}")
            pages.append([item["data"] for item in page["items"]])
            before = page["next"]
            await hub.publish(to={"topic": "a"}, data=-1, inbox=True)
    assert [len(page) for page in pages] == [4, 4, 1]
    assert sorted(data for page in pages for data in page) == list(range(9))


async def test_token_decides_at_each_read() -> None:
    """A topic must be allowed when it is subscribed to, and whenever it is read."""
    authenticator = JwtAuthenticator(
        token_reader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins([])
    )

    def header(*topics: str) -> dict[str, str]:
        claims = {"sub": "alice", "exp": time.time() + 60, "topics": topics}
        return {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}

    async with running_hub(authenticator) as hub:

        async def call(method: str, path: str, *topics: str, **more: Any) -> Any:
            return await hub.call(method, path, headers=header(*topics), **more)

        path, body = "/inbox/subscriptions", {"topics": ["a", "b"]}
        status, problem = await call("PUT", path, "a", json=body)
        assert (status, problem["code"]) == (403, "topic_not_allowed")
        assert await call("PUT", path, "a", "b", json=body) == (200, body)
        for topic in ("a", "b"):
            await hub.publish(to={"topic": topic}, data=topic, inbox=True)
        for allowed, visible in ((["*"], ["a", "b"]), (["b"], ["b"]), ([], [])):
            _, inbox = await call("GET", "/inbox", *allowed)
            assert sorted(item["data"] for item in inbox["items"]) == visible
            assert inbox["topic_unread"] == len(visible)
            assert (await call("GET", path, *allowed))[1] == {"topics": visible}
        _, counts = await call("POST", "/inbox/read", "b", json={"category": "x"})
        assert counts["topic_unread"] == 1


async def test_broadcast_is_written_once() -> None:
    """Whoever many users have the topic in their inboxes."""
    backend = MemoryBackend()
    async with running_hub(backend=backend) as hub:
        for n in range(100):
            await backend.inboxes.subscribe(f"u{n}", ["news"])
        written: Counter[str] = Counter()
        add = backend.inboxes.add

        def count(publication: Any, position: Any) -> Any:
            written[publication.channel] += 1
            return add(publication, position)

        backend.events._add_item = count
        await hub.publish(to={"topic": "news"}, inbox=True)
        assert written == {"topic:news": 1}
        assert _counts(await _read(hub, "u99")) == (0, 0, 1, 1)


async def test_muted_categories() -> None:
    """Nothing of them is kept, nor shown of topics, but what is required."""
    async with running_hub() as hub:
        path, body = "/inbox/preferences?user=alice", {"muted": {"inbox": ["ads", "ads"]}}
        stored = {"muted": {"inbox": ["ads"], "push": []}}
        assert await hub.call("PUT", path, json=body) == (200, stored)
        assert await hub.call("GET", path) == (200, stored)
        internal = "/users/alice/inbox/preferences"
        assert await hub.call("GET", internal, internal=True) == (200, stored)
        for to in ({"user": "alice"}, {"all": True}):
            await hub.publish(to=to, data="ad", inbox={"category": "ads"})
            await hub.publish(to=to, data="law", inbox={"category": "ads", "required": True})
        inbox = await _read(hub, "alice")
        assert [item["data"] for item in inbox["items"]] == ["law", "law"]
        assert _counts(inbox) == (1, 1, 1, 1)
        nothing = {"muted": {"inbox": None}}
        assert (await hub.call("PUT", internal, internal=True, json=nothing))[0] == 200
        assert _counts(await _read(hub, "alice")) == (1, 1, 2, 2)


async def test_muting_for_a_while_changes_no_state() -> None:
    """What the user did with items of a category stays, and what the user has not read is unread,
    though the user did something with other items meanwhile.
    """
    async with running_hub() as hub:

        async def mute(*categories: str) -> None:
            body = {"muted": {"inbox": categories}}
            assert (await hub.call("PUT", "/inbox/preferences?user=alice", json=body))[0] == 200

        for data in ("unread", "deleted", "read", "archived"):
            await hub.publish(to={"all": True}, data=data, inbox={"category": "ads"})
        await hub.publish(to={"all": True}, data="other", inbox=True)
        ids = {item["data"]: item["id"] for item in (await _read(hub, "alice"))["items"]}
        for change, name in (("delete", "deleted"), ("read", "read"), ("archive", "archived")):
            await _change(hub, "alice", change, items=[ids[name]])
        before = (await _read(hub, "alice"))["items"]
        await mute("ads")
        assert _counts(await _change(hub, "alice", "read", up_to=ids["other"]))[2] == 0
        await mute()
        after = (await _read(hub, "alice"))["items"]
        assert before.pop(0)["data"] == "other"
        assert after.pop(0)["read"]
        assert after == before


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
        ("subscriptions", {"topics": ["a*"]}, "topics[0]"),
        ("subscriptions", {"topics": [f"t{n}" for n in range(33)]}, "topics"),
        ("preferences", {"muted": {"inbox": [""]}}, "muted.inbox[0]"),
        ("preferences", {"muted": {"push": ["a\nb"]}}, "muted.push[0]"),
        ("preferences", {"muted": {"push": ["c"] * 101}}, "muted.push"),
        ("preferences", {"muted": None}, "muted"),
        ("preferences", {"muted": {"mail": []}}, "muted.mail"),
    ],
)
async def test_settings_that_are_wrong(name: str, body: Any, path: str) -> None:
    """A 400 names the field."""
    async with running_hub() as hub:
        status, problem = await hub.call("PUT", f"/inbox/{name}?user=alice", json=body)
    assert (status, problem["path"]) == (400, path)


async def _subscribe(hub: Hub, user: str, topics: list[str]) -> None:
    path, body = f"/users/{user}/inbox/subscriptions", {"topics": topics}
    assert await hub.call("PUT", path, internal=True, json=body) == (200, body)
    assert await hub.call("GET", path, internal=True) == (200, body)


async def _read(hub: Hub, user: str, query: str = "") -> Any:
    status, inbox = await hub.call("GET", f"/inbox?user={user}&{query}")
    assert status == 200
    return inbox


async def _change(hub: Hub, user: str, change: str, **target: Any) -> Any:
    status, counts = await hub.call("POST", f"/inbox/{change}?user={user}", json=target)
    assert status == 200
    return counts


def _counts(inbox: Any) -> tuple[int, ...]:
    names = ("unread", "unseen", "topic_unread", "topic_unseen")
    return tuple(inbox[name] for name in names)
