"""Publishing with both clients: batches, threads, forks, broken connections, admin commands."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.core.denylist import TOKEN
from hub_client import (
    BadRequest,
    Forbidden,
    HubClient,
    HubClientError,
    HubUnavailable,
    HubUnreachable,
    Publication,
    PublishResult,
    RetryPolicy,
    SyncHubClient,
    To,
    Unauthorized,
)
from tests.client.test_client import Scripted
from tests.faults import FaultProxy
from tests.http.kit import Hub, running_hub

QUICK = RetryPolicy(min_delay_seconds=0.001, max_delay_seconds=0.02)
PublishMany = Callable[[Iterable[Publication]], Any]


class Setup:
    """A node, a proxy in front of its internal listener, and clients of the proxy."""

    def __init__(self, hub: Hub, proxy: FaultProxy) -> None:
        self.hub = hub
        self.proxy = proxy
        self.url = f"http://127.0.0.1:{proxy.port}"

    @asynccontextmanager
    async def publishing(self, kind: str, key: str | None = None) -> AsyncIterator[PublishMany]:
        """Yield `publish_many` of the client of this kind, `async` or `sync`."""
        if kind == "async":
            async with HubClient(self.url, internal_url=self.url, key=key, retry=QUICK) as hub:
                yield hub.publish_many
            return
        with SyncHubClient(self.url, key, retry=QUICK) as blocking:
            yield lambda items: asyncio.to_thread(blocking.publish_many, items)

    async def stored(self, user: str) -> list[Any]:
        """Return the data of all events in the user's log."""
        data: list[Any] = []
        async with HubClient(self.url, internal_url=self.url) as client:
            after, more = None, True
            while more:
                page = await client.stored_events(user, after=after, limit=1000)
                data += [event.data for event in page.events]
                after, more = page.next, page.more
        return data


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    """Create a set-up without API keys."""
    async with running_hub() as hub, FaultProxy(("127.0.0.1", hub.internal_port)) as proxy:
        yield Setup(hub, proxy)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_batch_with_wrong_items(setup: Setup, kind: str) -> None:
    """2,500 items get one result each, in order, and a wrong item affects no other."""
    items = [Publication({"user": "u"}, data=n) for n in range(2500)]
    items[3] = Publication({"user": "a b"}, data=3)
    items[1500] = Publication({"user": "u"}, data=object())
    items[2000] = Publication({"user": "u"}, event="hub.open", data=2000)
    items[2499] = Publication({"user": "u"}, data="x" * 100_000)
    async with setup.publishing(kind) as publish_many:
        results = await publish_many(items)
    errors = {n: result.error for n, result in enumerate(results) if result.error is not None}
    assert {n: (error.status, error.path) for n, error in errors.items()} == {
        3: (400, "to.user"),
        1500: (0, "data"),
        2000: (400, "event"),
        2499: (413, None),
    }
    assert all(isinstance(error, BadRequest) for error in errors.values())
    good = [n for n in range(2500) if n not in errors]
    assert await setup.stored("u") == good[-1000:]  # this broker keeps 1,000 events
    assert {len(results[n].published) for n in good} == {1}
    assert not any(results[n].published[0].duplicate for n in good)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_lost_batch_response_is_retried(setup: Setup, kind: str) -> None:
    """A batch whose response is lost is sent again and publishes nothing twice."""
    async with setup.publishing(kind) as publish_many:
        await publish_many([Publication({"user": "u"}, data=0)])
        setup.proxy.drop_replies()
        results = await publish_many([Publication({"user": "u"}, data=n) for n in (1, 2)])
    assert [result.error for result in results] == [None, None]
    assert await setup.stored("u") == [0, 1, 2]


async def test_lost_publish_response_is_retried(setup: Setup) -> None:
    """The retry finds the event under its idempotency key and reports a duplicate."""
    async with HubClient(setup.url, internal_url=setup.url, retry=QUICK) as client:
        await client.publish({"user": "u"}, data=0)
        setup.proxy.drop_replies()
        (published,) = await client.publish({"user": "u"}, data=1)
        assert published.duplicate
    with SyncHubClient(setup.url, retry=QUICK) as blocking:
        await asyncio.to_thread(blocking.publish, {"user": "u"}, data=2)
        setup.proxy.drop_replies()
        (published,) = await asyncio.to_thread(blocking.publish, {"user": "u"}, data=3)
        assert published.duplicate
    assert await setup.stored("u") == [0, 1, 2, 3]


def batch_response(*results: dict[str, Any]) -> web.Response:
    return web.Response(body=b"".join(json.dumps(each).encode() + b"\n" for each in results))


GOOD = {"published": [{"channel": "all", "cursor": "c", "duplicate": False}]}
UNAVAILABLE = {"status": 503, "detail": "the broker is away; try again"}
BAD = {"status": 400, "detail": "no", "path": "to"}


async def test_items_are_retried_while_the_broker_is_unavailable() -> None:
    """Only those items are sent again, with the same keys."""
    server = Scripted(
        batch_response(GOOD, UNAVAILABLE, BAD, UNAVAILABLE),
        batch_response(GOOD, UNAVAILABLE),
        batch_response(GOOD),
    )
    async with server.client() as client:
        results = await client.publish_many([Publication({"all": True}, data=n) for n in range(4)])
    errors = [result.error.status if result.error else None for result in results]
    assert errors == [None, None, 400, None]
    sent = [[json.loads(line) for line in body.splitlines()] for body in server.bodies]
    assert [[item["data"] for item in each] for each in sent] == [[0, 1, 2, 3], [1, 3], [3]]
    assert sent[0][3] == sent[2][0]


async def test_hub_becomes_unavailable_during_a_batch() -> None:
    """The remaining results carry the error; without any result the error is raised."""
    server = Scripted(batch_response(*[GOOD] * 1000), web.Response(status=503))
    items = [Publication({"all": True})] * 2500
    async with server.client() as client:
        results: list[PublishResult] = await client.publish_many(items)
        assert [result.error is None for result in results] == [True] * 1000 + [False] * 1500
        with pytest.raises(HubUnavailable):
            await client.publish_many(items)


async def test_threads_share_a_client(setup: Setup) -> None:
    """8 threads publish 200 events once each, over at most 8 connections."""
    with SyncHubClient(setup.url, retry=QUICK) as client, ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(
                    loop.run_in_executor(threads, client.publish, To(user="u"), "e", n)
                    for n in range(200)
                )
            )
        assert 1 <= setup.proxy.connections <= 8
    assert sorted(await setup.stored("u")) == [*range(200)]


FORKING = """
import os, sys
from hub_client import RetryPolicy, SyncHubClient
hub = SyncHubClient(sys.argv[1], retry=RetryPolicy(max_attempts=1))
hub.publish({"user": "u"}, data="before")
read_end, write_end = os.pipe()
child = os.fork()
for n in range(20):
    hub.publish({"user": "u"}, data=("parent" if child else "child") + str(n))
if child:
    print("parent", flush=True)
    sys.stdin.readline()
    os.write(write_end, b".")
    os.waitpid(child, 0)
else:
    print("child", flush=True)
    os.read(read_end, 1)
    os._exit(0)
hub.close()
"""


async def test_fork_shares_no_connection(setup: Setup) -> None:
    """After a fork each process publishes over a connection of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", FORKING, setup.url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    lines = {(await process.stdout.readline()).strip() for _ in range(2)}
    assert lines == {b"parent", b"child"}
    assert setup.proxy.connections == 2
    await process.communicate(b"\n")
    assert process.returncode == 0
    stored = await setup.stored("u")
    for process_name in ("parent", "child"):
        assert [data for data in stored if data.startswith(process_name)] == [
            f"{process_name}{n}" for n in range(20)
        ]


async def test_closed_idle_connection_is_replaced(setup: Setup) -> None:
    """A reset of an idle connection does not count as an attempt."""
    with SyncHubClient(setup.url, retry=RetryPolicy(max_attempts=1)) as client:
        for n in range(3):
            await asyncio.to_thread(client.publish, {"user": "u"}, "e", n)
            setup.proxy.reset_all()
    assert await setup.stored("u") == [0, 1, 2]


async def test_sync_client_retries_and_gives_up() -> None:
    """The retry policy holds, and an unreachable hub gives one clear sentence."""
    unavailable = web.Response(status=503, headers={"Retry-After": "0"})
    good = web.Response(body=json.dumps(GOOD).encode())
    server = Scripted(unavailable, good)
    async with server.client():
        with SyncHubClient(server.url, retry=QUICK) as client:
            (published,) = await asyncio.to_thread(client.publish, {"all": True})
            assert (published.cursor, len(server.requests)) == ("c", 2)
            server.responses = [web.Response(status=503)]
            with pytest.raises(HubUnavailable):
                await asyncio.to_thread(client.publish, {"all": True})
            assert len(server.requests) == 6
    with pytest.raises(
        HubUnreachable, match=r"cannot reach the hub at http://.*: Connection refused"
    ):
        await asyncio.to_thread(client.publish, {"all": True})
    with pytest.raises(ValueError, match="http://"):
        SyncHubClient("127.0.0.1:8081")


async def test_admin_commands() -> None:
    """Both clients read presence, nodes and stored events, disconnect users and revoke tokens."""
    keys = ApiKeys([ApiKey("k", hash_key("secret"), frozenset({"read", "admin"}))])
    async with running_hub(keys=keys) as hub:
        tasks = [
            asyncio.create_task(hub.node.connection_query.keep_node_state()),
            asyncio.create_task(hub.node.connection_query.answer_requests()),
        ]
        url, internal_url = f"http://127.0.0.1:{hub.port}", f"http://127.0.0.1:{hub.internal_port}"
        blocking = SyncHubClient(internal_url, "secret\n")  # the key as it is read from a file
        async with (
            HubClient(url, user="alice", internal_url=internal_url, key="secret") as client,
            client.events(control=True) as events,
        ):
            await anext(events)
            presence = await client.presence("alice")
            assert (presence.total, presence.connections[0].user, presence.missing) == (
                1,
                "alice",
                [],
            )
            assert (await asyncio.to_thread(blocking.presence)).total == 1
            assert [node.node for node in await client.nodes()] == ["n1"]
            assert [node.node for node in await asyncio.to_thread(blocking.nodes)] == ["n1"]
            stored = await asyncio.to_thread(blocking.stored_events, "alice")
            assert (stored.events, stored.more, stored.lost) == ([], False, None)
            await client.revoke("jti", time.time() + 60)
            assert (
                hub.node.admin_commands.denylist.blocked_until(TOKEN + "jti", time.time())
                is not None
            )
            assert await client.disconnect("alice") is None
            assert (await anext(events)).json()["reason"] == "disconnected"
            with pytest.raises(Forbidden):
                await client.publish({"all": True})
        with SyncHubClient(internal_url, "wrong") as wrong, pytest.raises(Unauthorized):
            await asyncio.to_thread(wrong.nodes)
        blocking.close()
        for task in tasks:
            task.cancel()


def test_sync_client_imports_no_event_loop() -> None:
    """SyncHubClient does not import aiohttp, and all names of the package exist all the same."""
    code = """
import sys
from hub_client import AnswerFailed, Publication, SyncHubClient
print({"aiohttp", "asyncio"} & {*sys.modules})
import hub_client
print(all(getattr(hub_client, name) for name in hub_client.__all__), "aiohttp" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "True True"]


async def test_internal_calls_need_the_internal_url() -> None:
    """The error says how to pass the URL."""
    async with HubClient("http://127.0.0.1:1") as client:
        with pytest.raises(HubClientError, match="internal_url"):
            await client.publish({"all": True})
