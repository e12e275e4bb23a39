"""Publishing to a real node by both clients: many, from threads, after a fork, over breaks."""

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
from hub.client import (
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
from hub.core.denylist import TOKEN
from tests.client.test_client import Scripted
from tests.faults import FaultProxy
from tests.http.kit import Hub, running_hub

QUICK = RetryPolicy(min_delay_seconds=0.001, max_delay_seconds=0.02)
PublishMany = Callable[[Iterable[Publication]], Any]


class World:
    """A node, a proxy in front of its internal listener, and the two clients behind that."""

    def __init__(self, hub: Hub, proxy: FaultProxy) -> None:
        self.hub = hub
        self.proxy = proxy
        self.url = f"http://127.0.0.1:{proxy.port}"

    @asynccontextmanager
    async def publishing(self, kind: str, key: str | None = None) -> AsyncIterator[PublishMany]:
        """`publish_many` of either client."""
        if kind == "async":
            async with HubClient(self.url, internal_url=self.url, key=key, retry=QUICK) as hub:
                yield hub.publish_many
            return
        with SyncHubClient(self.url, key, retry=QUICK) as blocking:
            yield lambda items: asyncio.to_thread(blocking.publish_many, items)

    async def stored(self, user: str) -> list[Any]:
        """The data of all that the user's log holds."""
        found: list[Any] = []
        async with HubClient(self.url, internal_url=self.url) as client:
            after, more = None, True
            while more:
                page = await client.stored_events(user, after=after, limit=1000)
                found += [event.data for event in page.events]
                after, more = page.next, page.more
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Without keys."""
    async with running_hub() as hub, FaultProxy(("127.0.0.1", hub.internal_port)) as proxy:
        yield World(hub, proxy)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_many_with_bad_ones(world: World, kind: str) -> None:
    """2,500 items in chunks: a result for each, in order; a bad one harms no other."""
    items = [Publication({"user": "u"}, data=n) for n in range(2500)]
    items[3] = Publication({"user": "a b"}, data=3)
    items[1500] = Publication({"user": "u"}, data=object())
    items[2000] = Publication({"user": "u"}, event="hub.open", data=2000)
    items[2499] = Publication({"user": "u"}, data="x" * 100_000)
    async with world.publishing(kind) as publish_many:
        results = await publish_many(items)
    bad = {n: result.error for n, result in enumerate(results) if result.error is not None}
    assert {n: (error.status, error.path) for n, error in bad.items()} == {
        3: (400, "to.user"),
        1500: (0, "data"),
        2000: (400, "event"),
        2499: (413, None),
    }
    assert all(isinstance(error, BadRequest) for error in bad.values())
    good = [n for n in range(2500) if n not in bad]
    assert await world.stored("u") == good[-1000:]  # as many as this broker keeps
    assert {len(results[n].published) for n in good} == {1}
    assert not any(results[n].published[0].duplicate for n in good)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_lost_answer_is_asked_for_again(world: World, kind: str) -> None:
    """A batch whose answer is cut off is sent again, and nothing of it is there twice."""
    async with world.publishing(kind) as publish_many:
        await publish_many([Publication({"user": "u"}, data=0)])
        world.proxy.drop_replies()
        results = await publish_many([Publication({"user": "u"}, data=n) for n in (1, 2)])
    assert [result.error for result in results] == [None, None]
    assert await world.stored("u") == [0, 1, 2]


async def test_publish_whose_answer_is_lost_is_found_again(world: World) -> None:
    """It arrives, its answer does not: the repeat finds it under its key."""
    async with HubClient(world.url, internal_url=world.url, retry=QUICK) as client:
        await client.publish({"user": "u"}, data=0)
        world.proxy.drop_replies()
        (published,) = await client.publish({"user": "u"}, data=1)
        assert published.duplicate
    with SyncHubClient(world.url, retry=QUICK) as blocking:
        await asyncio.to_thread(blocking.publish, {"user": "u"}, data=2)
        world.proxy.drop_replies()
        (published,) = await asyncio.to_thread(blocking.publish, {"user": "u"}, data=3)
        assert published.duplicate
    assert await world.stored("u") == [0, 1, 2, 3]


def lines(*answers: dict[str, Any]) -> web.Response:
    return web.Response(body=b"".join(json.dumps(each).encode() + b"\n" for each in answers))


GOOD = {"published": [{"channel": "all", "cursor": "c", "duplicate": False}]}
AWAY = {"status": 503, "detail": "the broker is away; try again"}
BAD = {"status": 400, "detail": "no", "path": "to"}


async def test_items_that_found_the_broker_away_go_again() -> None:
    """Those alone, under their keys; the others' results stand."""
    server = Scripted(lines(GOOD, AWAY, BAD, AWAY), lines(GOOD, AWAY), lines(GOOD))
    async with server.client() as client:
        results = await client.publish_many([Publication({"all": True}, data=n) for n in range(4)])
    errors = [result.error.status if result.error else None for result in results]
    assert errors == [None, None, 400, None]
    sent = [[json.loads(line) for line in body.splitlines()] for body in server.bodies]
    assert [[item["data"] for item in each] for each in sent] == [[0, 1, 2, 3], [1, 3], [3]]
    assert sent[0][3] == sent[2][0]


async def test_hub_that_goes_away_in_the_midst() -> None:
    """What was answered stands, the rest carries the error; where nothing was, it is raised."""
    server = Scripted(lines(*[GOOD] * 1000), web.Response(status=503))
    items = [Publication({"all": True})] * 2500
    async with server.client() as client:
        results: list[PublishResult] = await client.publish_many(items)
        assert [result.error is None for result in results] == [True] * 1000 + [False] * 1500
        with pytest.raises(HubUnavailable):
            await client.publish_many(items)


async def test_threads_share_a_client(world: World) -> None:
    """200 publishes from 8 threads: each is there once, over no more connections than threads."""
    with SyncHubClient(world.url, retry=QUICK) as client, ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            await asyncio.gather(
                *(
                    loop.run_in_executor(threads, client.publish, To(user="u"), "e", n)
                    for n in range(200)
                )
            )
        assert 1 <= world.proxy.connections <= 8
    assert sorted(await world.stored("u")) == [*range(200)]


FORKING = """
import os, sys
from hub.client import RetryPolicy, SyncHubClient
hub = SyncHubClient(sys.argv[1], retry=RetryPolicy(max_attempts=1))
hub.publish({"user": "u"}, data="before")
goes_on, may_end = os.pipe()
child = os.fork()
for n in range(20):
    hub.publish({"user": "u"}, data=("parent" if child else "child") + str(n))
if child:
    print("parent", flush=True)
    sys.stdin.readline()
    os.write(may_end, b".")
    os.waitpid(child, 0)
else:
    print("child", flush=True)
    os.read(goes_on, 1)
    os._exit(0)
hub.close()
"""


async def test_fork_shares_no_connection(world: World) -> None:
    """After a fork both processes publish at once, each over a connection of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", FORKING, world.url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    said = {(await process.stdout.readline()).strip() for _ in range(2)}
    assert said == {b"parent", b"child"}
    assert world.proxy.connections == 2
    await process.communicate(b"\n")
    assert process.returncode == 0
    stored = await world.stored("u")
    for who in ("parent", "child"):
        assert [data for data in stored if data.startswith(who)] == [f"{who}{n}" for n in range(20)]


async def test_closed_connection_costs_no_try(world: World) -> None:
    """A waiting connection that was reset meanwhile is replaced, even where nothing is repeated."""
    with SyncHubClient(world.url, retry=RetryPolicy(max_attempts=1)) as client:
        for n in range(3):
            await asyncio.to_thread(client.publish, {"user": "u"}, "e", n)
            world.proxy.reset_all()
    assert await world.stored("u") == [0, 1, 2]


async def test_blocking_client_waits_and_gives_up() -> None:
    """The same rules of repeating; nobody there is one clear sentence."""
    away = web.Response(status=503, headers={"Retry-After": "0"})
    good = web.Response(body=json.dumps(GOOD).encode())
    server = Scripted(away, good)
    async with server.client():
        with SyncHubClient(server.url, retry=QUICK) as client:
            (published,) = await asyncio.to_thread(client.publish, {"all": True})
            assert (published.cursor, len(server.requests)) == ("c", 2)
            server.answers = [web.Response(status=503)]
            with pytest.raises(HubUnavailable):
                await asyncio.to_thread(client.publish, {"all": True})
            assert len(server.requests) == 6
    with pytest.raises(
        HubUnreachable, match=r"cannot reach the hub at http://.*: Connection refused"
    ):
        await asyncio.to_thread(client.publish, {"all": True})
    with pytest.raises(ValueError, match="http://"):
        SyncHubClient("127.0.0.1:8081")


async def test_operators_calls() -> None:
    """Presence, nodes, stored events, disconnecting and revoking, by both clients, with a key."""
    keys = ApiKeys([ApiKey("k", hash_key("secret"), frozenset({"read", "admin"}))])
    async with running_hub(keys=keys) as hub:
        tasks = [
            asyncio.create_task(hub.node.connection_query.keep_node_state()),
            asyncio.create_task(hub.node.connection_query.answer_requests()),
        ]
        url, internal_url = f"http://127.0.0.1:{hub.port}", f"http://127.0.0.1:{hub.internal_port}"
        blocking = SyncHubClient(internal_url, "secret\n")  # as from a file
        async with (
            HubClient(url, user="alice", internal_url=internal_url, key="secret") as client,
            client.events(control=True) as events,
        ):
            await anext(events)
            there = await client.presence("alice")
            assert (there.total, there.connections[0].user, there.missing) == (1, "alice", [])
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


def test_blocking_client_loads_no_event_loop() -> None:
    """Who only publishes waits for no aiohttp; all names are there all the same."""
    code = """
import sys
from hub.client import AnswerFailed, Publication, SyncHubClient
print({"aiohttp", "asyncio"} & {*sys.modules})
import hub.client
print(all(getattr(hub.client, name) for name in hub.client.__all__), "aiohttp" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "True True"]


async def test_internal_calls_need_the_internal_url() -> None:
    """The sentence says how to give it."""
    async with HubClient("http://127.0.0.1:1") as client:
        with pytest.raises(HubClientError, match="internal_url"):
            await client.publish({"all": True})
