"""Test two nodes behind nginx with config/nginx.conf."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from hub.core.sse_decoder import SseDecoder
from tests.e2e.cluster import create_cluster
from tests.e2e.proxy import NGINX, NginxProxy

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[NginxProxy]:
    """Yield nginx and two nodes, not started yet."""
    async with create_cluster() as cluster:
        proxy = NginxProxy(cluster, tmp_path)
        yield proxy
        await proxy.stop()


@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_hundred_streams_over_one_connection(proxy: NginxProxy) -> None:
    """100 HTTP/2 streams share one connection; each event reaches all of them before the next one
    is published, so nothing waits in a buffer.
    """
    await proxy.start()
    script = Path(__file__).with_name("h2_streams.mjs")
    assert NODE is not None
    client = await asyncio.create_subprocess_exec(
        NODE, str(script), proxy.url, "100", "20", stdout=asyncio.subprocess.PIPE
    )
    assert client.stdout is not None
    delays = []
    async with asyncio.timeout(60):
        assert (await client.stdout.readline()).strip() == b"open"
        for n in range(1, 21):
            started = time.monotonic()
            await proxy.publish(n)
            assert (await client.stdout.readline()).strip() == b"all %d" % n
            delays.append(time.monotonic() - started)
        assert await client.wait() == 0
    print(f"median {statistics.median(delays) * 1000:.1f} ms, max {max(delays) * 1000:.1f} ms")


async def test_killed_node(proxy: NginxProxy) -> None:
    """The client reconnects through nginx to the other node and misses no event."""
    await proxy.start()
    cursor, n, seen = "", 0, list[int]()
    killed = False
    while len(seen) < 20:
        with suppress(EOFError, aiohttp.ClientError):
            async with proxy.stream("alice", cursor) as next_event:
                while len(seen) < 20:
                    id_, name, data = await next_event()
                    cursor = id_ or cursor
                    if name == "notification":
                        seen.append(data["n"])
                    if len(seen) == 10 and not killed:
                        killed = True
                        proxy.cluster.node.kill()  # possibly the node of this stream
                    if n < 20 and n == len(seen):
                        n += 1
                        await proxy.publish(n, user="alice")
    assert seen == list(range(1, 21))


async def test_reload_loses_nothing(proxy: NginxProxy) -> None:
    """After a reload, old nginx workers keep their streams, and new workers serve new ones."""
    await proxy.start()
    async with proxy.stream("alice") as old:
        await old()
        await proxy.reload()
        async with proxy.stream("alice") as new:
            await new()
            for n in range(1, 6):
                await proxy.publish(n, user="alice")
                assert (await old())[2] == (await new())[2] == {"n": n}


STREAMS = 1000


@pytest.mark.slow
async def test_slow_answers_and_restarts_harm_nobody_else(proxy: NginxProxy) -> None:
    """1,000 users stream while answers time out in nginx and both nodes restart: every user gets
    every event once, and nobody else gets a 502 or 504.
    """
    cluster = proxy.cluster
    await cluster.add_upstream("main", "hang")
    cluster.set("NODE__DRAIN_WAIT_SECONDS", 0)
    cluster.set("NODE__DRAIN_SECONDS", 2)

    def configure(text: str) -> str:
        """Let answers time out; a busy machine may take long to accept 1,000 connections."""
        text = text.replace("proxy_read_timeout 1h", "proxy_read_timeout 1s")
        return text.replace("proxy_connect_timeout 2s", "proxy_connect_timeout 60s")

    await proxy.start(configure)
    await cluster.start_ready_worker()
    slow, others = list[int](), list[int]()
    progress = Progress()
    users = [asyncio.create_task(follow(proxy, f"u{n}", 3, progress)) for n in range(STREAMS)]
    await progress.wait_for("open")
    background = [
        asyncio.create_task(repeat_request(proxy, "POST", "/v1/chat/completions", CHAT, slow)),
        asyncio.create_task(repeat_request(proxy, "GET", "/generations/g00?user=a", None, others)),
    ]
    while len(slow) < 4:  # more than both nodes were allowed to fail, by the default of nginx
        await asyncio.sleep(0.05)
    assert set(slow) == {504}
    await proxy.publish(1)
    nodes = [(cluster.node, proxy.first_port), (proxy.second, proxy.second_port)]
    for n, (node, port) in enumerate(nodes):
        node.terminate()
        await node.wait()
        await cluster.start_node(port=port)
        await proxy.publish(2 + n)
        # A request that this node refused may still wait in the queue of the other node. So the
        # other node stops when every user is connected and such a request is answered.
        await progress.wait_for(2 + n)
        answered = len(others)
        while len(others) < answered + 2:
            await asyncio.sleep(0.05)
    seen = await asyncio.gather(*users)
    for task in background:
        task.cancel()
    assert all(each == [1, 2, 3] for each in seen)
    assert set(others) == {404}
    print(f"{len(others)} other requests, {len(slow)} slow answers timed out")


CHAT = {"model": "simulated-1", "messages": [{"role": "user", "content": "hello"}]}


class Progress:
    """How many users are connected, and how many have received which event."""

    def __init__(self) -> None:
        self._reached: dict[str | int, set[str]] = defaultdict(set)

    def reach(self, user: str, step: str | int) -> None:
        self._reached[step].add(user)

    async def wait_for(self, step: str | int) -> None:
        """Wait until every user has reached a step."""
        while len(self._reached[step]) < STREAMS:
            await asyncio.sleep(0.05)


async def follow(proxy: NginxProxy, user: str, count: int, progress: Progress) -> list[int]:
    """Read a user's stream, and reconnect with the cursor, until so many events have come."""
    cursor, seen = "", list[int]()
    while len(seen) < count:
        with suppress(EOFError, aiohttp.ClientError, TimeoutError):
            async with proxy.stream(user, cursor) as next_event:
                while len(seen) < count:
                    id_, name, data = await next_event(90)
                    assert data.get("reason") != "unreachable"  # one of the nodes always runs
                    cursor = id_ or cursor
                    if name == "hub.open":
                        progress.reach(user, "open")
                    if name == "notification":
                        seen.append(data["n"])
                        progress.reach(user, data["n"])
        await asyncio.sleep(0.05)
    return seen


async def repeat_request(
    proxy: NginxProxy, method: str, path: str, body: object, statuses: list[int]
) -> None:
    """Send a request again and again, and collect the statuses."""
    while True:
        url, session = proxy.url + path, proxy.cluster.session
        async with session.request(method, url, json=body, ssl=proxy.trust) as response:
            statuses.append(response.status)
        await asyncio.sleep(0.02)


async def test_no_node_is_a_stream_that_reconnects(proxy: NginxProxy) -> None:
    """While no node runs, an EventSource gets a short stream instead of a 502, which would end it
    for ever; other requests get the 502.
    """
    await proxy.start()
    proxy.cluster.node.kill()
    proxy.second.kill()
    await asyncio.gather(proxy.cluster.node.wait(), proxy.second.wait())
    session = proxy.cluster.session
    async with session.get(f"{proxy.url}/sse/connect/alice", ssl=proxy.trust) as response:
        body = await response.text()
    assert (response.status, response.content_type) == (200, "text/event-stream")
    (event,) = SseDecoder().feed(body.encode())
    assert (event.name, event.retry_ms, event.id) == ("hub.bye", 3000, "")
    assert json.loads(event.data)["reconnect"] is True
    async with session.get(f"{proxy.url}/generations/g00", ssl=proxy.trust) as response:
        assert response.status == 502


async def test_without_the_buffering_directives(proxy: NginxProxy) -> None:
    """Without them, nginx buffers: a small event does not reach the client."""

    def buffering(text: str) -> str:
        text = re.sub(r"proxy_buffering off;.*", "proxy_ignore_headers X-Accel-Buffering;", text)
        return text.replace("location /sse/ {", "location /sse/ {\n proxy_buffers 8 64k;")

    await proxy.start(buffering)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), proxy.stream("alice") as next_event:
            await next_event()
