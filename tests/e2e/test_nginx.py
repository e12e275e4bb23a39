"""Test two nodes behind nginx with config/nginx.conf."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

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


@pytest.mark.alone
@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_hundred_streams_over_one_connection(proxy: NginxProxy) -> None:
    """100 HTTP/2 streams share one connection; an event reaches all of them within 50 ms."""
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
    assert statistics.median(delays) < 0.05


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


async def test_without_the_buffering_directives(proxy: NginxProxy) -> None:
    """Without them, nginx buffers: a small event does not reach the client."""

    def buffering(text: str) -> str:
        text = re.sub(r"proxy_buffering off;.*", "proxy_ignore_headers X-Accel-Buffering;", text)
        return text.replace("location / {", "location / {\n proxy_buffers 8 64k;")

    await proxy.start(buffering)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), proxy.stream("alice") as next_event:
            await next_event()
