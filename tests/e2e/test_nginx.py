"""The real nginx, with config/nginx.conf, before two nodes."""

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
    """Not started yet."""
    async with create_cluster() as cluster:
        proxy = NginxProxy(cluster, tmp_path)
        yield proxy
        await proxy.stop()


@pytest.mark.alone
@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_hundred_streams_over_one_connection(proxy: NginxProxy) -> None:
    """HTTP/2: all open at once, and each event is at all of them within 50 ms."""
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
            begun = time.monotonic()
            await proxy.publish(n)
            assert (await client.stdout.readline()).strip() == b"all %d" % n
            delays.append(time.monotonic() - begun)
        assert await client.wait() == 0
    print(f"median {statistics.median(delays) * 1000:.1f} ms, most {max(delays) * 1000:.1f} ms")
    assert statistics.median(delays) < 0.05


async def test_node_that_is_killed(proxy: NginxProxy) -> None:
    """The client comes back through nginx to the other node, and misses nothing."""
    await proxy.start()
    cursor, n, seen = "", 0, list[int]()
    killed = False
    while len(seen) < 20:
        with suppress(EOFError, aiohttp.ClientError):
            async with proxy.stream("alice", cursor) as following:
                while len(seen) < 20:
                    id_, name, data = await following()
                    cursor = id_ or cursor
                    if name == "notification":
                        seen.append(data["n"])
                    if len(seen) == 10 and not killed:
                        killed = True
                        proxy.cluster.node.kill()  # it may be the one that holds the stream
                    if n < 20 and n == len(seen):
                        n += 1
                        await proxy.publish(n, user="alice")
    assert seen == list(range(1, 21))


async def test_reload_loses_nothing(proxy: NginxProxy) -> None:
    """Streams go on in the old workers; new ones are served by the new."""
    await proxy.start()
    async with proxy.stream("alice") as old:
        await old()
        await proxy.reload()
        async with proxy.stream("alice") as new:
            await new()
            for n in range(1, 6):
                await proxy.publish(n, user="alice")
                assert (await old())[2] == (await new())[2] == {"n": n}


async def test_without_the_directives(proxy: NginxProxy) -> None:
    """What they are for: a proxy that buffers holds an event back until more comes."""

    def buffering(text: str) -> str:
        text = re.sub(r"proxy_buffering off;.*", "proxy_ignore_headers X-Accel-Buffering;", text)
        return text.replace("location / {", "location / {\n proxy_buffers 8 64k;")

    await proxy.start(buffering)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), proxy.stream("alice") as following:
            await following()
