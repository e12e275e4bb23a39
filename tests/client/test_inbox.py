"""The inbox with both clients and with the command, and the data of a user."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hub.core.push_job import decode_job
from hub.core.push_message import PushMessage
from hub.push.vapid import generate_vapid_keys
from hub.settings import Push
from hub_client import BadRequest, HubClient, HubClientError, SyncHubClient
from tests.forked_hub import hub_program
from tests.http.kit import Hub, running_hub

Call = Callable[..., Awaitable[Any]]
PUSH = Push.model_validate(
    {
        "private_key": generate_vapid_keys().private_key,
        "subject": "mailto:a@b.example",
        "after_seconds": 0.0,
    }
)


@pytest.fixture
async def node() -> AsyncIterator[Hub]:
    """A node without tokens and API keys, which sends push notifications at once."""
    async with running_hub(tables={"push": PUSH}) as hub:
        yield hub


@pytest.fixture(params=["async", "sync"])
async def call(request: pytest.FixtureRequest, node: Hub) -> AsyncIterator[Call]:
    """Call a method of the client of this kind by its name, such as `inbox.read`."""
    url, internal_url = (f"http://127.0.0.1:{port}" for port in (node.port, node.internal_port))
    blocking = SyncHubClient(internal_url, url=url, user="alice")
    async with HubClient(url, internal_url=internal_url, user="alice") as client:

        async def call_by_name(name: str, *arguments: Any, **more: Any) -> Any:
            of_user = more.pop("of_user", None)

            def find(hub: Any) -> Any:
                target = hub
                if of_user is not None:
                    target, name_left = hub.inbox_of(of_user), name
                else:
                    name_left = name
                for part in name_left.split("."):
                    target = getattr(target, part)
                return target

            if request.param == "async":
                return await find(client)(*arguments, **more)
            return await asyncio.to_thread(lambda: find(blocking)(*arguments, **more))

        yield call_by_name
    blocking.close()


async def test_list_and_change(call: Call) -> None:
    """Items and counts of one's own inbox, page by page, and every change."""
    for n in range(3):
        options = {"category": f"c{n % 2}", "key": f"k{n}"}
        await call("publish", {"user": "alice"}, "done", {"n": n}, inbox=options)
    page = await call("inbox.list", limit=2)
    assert [(item.event, item.data, item.category) for item in page.items] == [
        ("done", {"n": 2}, "c0"),
        ("done", {"n": 1}, "c1"),
    ]
    assert (page.unread, page.unseen, page.items[0].key) == (3, 3, "k2")
    (oldest,) = (await call("inbox.list", before=page.next)).items
    assert oldest.data == {"n": 0}
    assert (await call("inbox.read", oldest.id)).unread == 2
    assert (await call("inbox.unread", oldest.id)).unread == 3
    assert (await call("inbox.seen", up_to=page.items[0].id)).unseen == 0
    assert (await call("inbox.archive", category="c1")).unread == 2
    archived = await call("inbox.list", archived=True)
    assert [item.data for item in archived.items] == [{"n": 1}]
    assert (await call("inbox.unarchive", category="c1")).unread == 3
    assert (await call("inbox.delete", oldest.id)).unread == 2
    assert (await call("list", of_user="alice", unread=True)).unread == 2
    assert (await call("read", of_user="alice", category="c0")).unread == 1
    assert len((await call("inbox.list", category="c1", unread=True)).items) == 1


async def test_errors(call: Call) -> None:
    """It must be clear which items are meant; what the hub refuses is an exception."""
    for items, more in (((), {}), (("1-0",), {"category": "c"})):
        with pytest.raises(ValueError, match="up_to"):
            await call("inbox.read", *items, **more)
    with pytest.raises(BadRequest):
        await call("inbox.read", "no id")
    with pytest.raises(BadRequest):
        await call("publish", {"user": "alice"}, inbox={"key": 7})
    with pytest.raises(HubClientError, match="public listener"):
        SyncHubClient("http://127.0.0.1:1").inbox.list()


async def test_topics_and_preferences(call: Call) -> None:
    """The topics of the inbox and the muted categories are read and replaced."""
    assert await call("inbox.subscriptions") == []
    assert await call("inbox.set_subscriptions", ["news", "jobs"]) == ["news", "jobs"]
    assert sorted(await call("subscriptions", of_user="alice")) == ["jobs", "news"]
    assert await call("set_subscriptions", [], of_user="alice") == []
    muted = {"inbox": ["ads"], "push": ["exports"]}
    kept = await call("inbox.set_preferences", muted=muted)
    assert (kept.muted.inbox, kept.muted.push) == (["ads"], ["exports"])
    assert await call("preferences", of_user="alice") == kept
    cleared = await call("set_preferences", muted={"inbox": ["ads"]}, of_user="alice")
    assert await call("inbox.preferences") == cleared
    assert (cleared.muted.inbox, cleared.muted.push) == (["ads"], [])


async def test_push(node: Hub, call: Call) -> None:
    """The client sends `push`, and returns the id of the item in the inbox."""
    (published,) = await call("publish", {"user": "alice"}, inbox=True)
    (item,) = (await call("inbox.list")).items
    assert published.item == item.id
    await call("publish", {"user": "alice"}, push={"title": "T", "tag": "t", "ttl_seconds": 60})
    (taken,) = await node.backend.deliveries.take("push", 10, lease_seconds=60)
    assert decode_job(taken.body).message == PushMessage(title="T", tag="t", ttl_seconds=60)


async def test_notify(node: Hub, tmp_path: Path) -> None:
    """Answers that are asked for, and those that a program writes, are stored with `notify`."""
    url, internal_url = (f"http://127.0.0.1:{port}" for port in (node.port, node.internal_port))
    find = node.backend.generations.find
    async with HubClient(url, internal_url=internal_url, user="alice") as hub:
        answer = await hub.ask("x", upstream="support", notify=True)
        async with hub.generation(user="alice", notify=True) as produced:
            pass
        silent = await hub.ask("x", upstream="support")
    ids = [answer.id, produced.generation, silent.id]
    records = [await find(each or "") for each in ids]
    assert [each and each.request.notify_seconds for each in records] == [0.0, 0.0, None]
    with SyncHubClient(internal_url) as blocking:

        def produce() -> str:
            with blocking.generation(user="alice", notify=True) as written:
                return written.generation or ""

        record = await find(await asyncio.to_thread(produce))
    assert record is not None
    assert record.request.notify_seconds == 0.0
    async with running_hub() as other:  # it has no keys, and says so
        public_url = f"http://127.0.0.1:{other.port}"
        printed = await run(
            other, tmp_path, "ask", "a", "x", "--notify", "--url", public_url, code=1
        )
    assert "sends no push notifications" in printed


async def test_data_of_a_user(call: Call) -> None:
    """It is exported and erased."""
    await call("publish", {"user": "alice"}, "done", {"n": 1}, inbox=True)
    exported = await call("export_data", "alice")
    assert exported["complete"]
    assert [item["data"] for item in exported["inbox"]] == [{"n": 1}]
    await call("erase_data", "alice")
    assert (await call("inbox.list")).items == []
    assert (await call("export_data", "alice"))["inbox"] == []


async def run(node: Hub, folder: Path, *args: str, code: int = 0) -> str:
    """Run `hub` and return what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    env = {**clean, "HUB_CLIENT__INTERNAL_URL": f"http://127.0.0.1:{node.internal_port}"}
    process = await asyncio.create_subprocess_exec(
        hub_program(),
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=env,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == code, output
    return output.decode()


async def test_commands(node: Hub, tmp_path: Path) -> None:
    """`hub publish --inbox`, `hub inbox` and `hub data`."""

    async def hub(*args: str, code: int = 0) -> str:
        return await run(node, tmp_path, *args, code=code)

    await hub("publish", "alice", "--data", '{"title": "Ready"}', "--inbox", "true")
    await hub("publish", "alice", "--inbox", '{"category": "exports"}')
    listed = await hub("inbox", "alice")
    assert "exports" in listed.splitlines()[0]
    assert '{"title": "Ready"}' in listed.splitlines()[1]
    assert listed.splitlines()[2] == "2 unread, 2 unseen"
    assert await hub("inbox", "alice", "read", "--category", "exports") == "1 unread, 1 unseen\n"
    page = json.loads(await hub("inbox", "alice", "--unread", "--json"))
    assert [item["data"] for item in page["items"]] == [{"title": "Ready"}]
    assert "0 unread" in await hub("inbox", "alice", "delete", page["items"][0]["id"])
    assert "--category" in await hub("inbox", "alice", "read", code=1)
    taken = await node.backend.deliveries.take("push", 10, lease_seconds=60)
    assert taken == []
    await hub("publish", "alice", "--push", "Ready")
    await hub("publish", "alice", "--push", '{"title": "Ready", "url": "/e"}')
    taken = await node.backend.deliveries.take("push", 10, lease_seconds=60)
    pushed = [decode_job(each.body).message for each in taken]
    assert pushed == [PushMessage(title="Ready"), PushMessage(title="Ready", url="/e")]
    assert "neither a title" in await hub("publish", "alice", "--push", '{"title"', code=1)
    assert "write true" in await hub("publish", "alice", "--inbox", "yes", code=1)
    assert json.loads(await hub("data", "export", "alice"))["complete"] is True
    assert "--yes" in await hub("data", "erase", "alice", code=1)
    assert await hub("data", "erase", "alice", "--yes") == "erased alice\n"
    assert json.loads(await hub("data", "export", "alice"))["inbox"] == []
