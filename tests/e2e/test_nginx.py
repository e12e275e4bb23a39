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

from tests.e2e.cluster import planted
from tests.e2e.proxy import NGINX, Front

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Not started yet."""
    async with planted() as plant:
        front = Front(plant, tmp_path)
        yield front
        await front.stop()


@pytest.mark.alone
@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_hundred_streams_over_one_connection(front: Front) -> None:
    """HTTP/2: all open at once, and each event is at all of them within 50 ms."""
    await front.start()
    script = Path(__file__).with_name("h2_streams.mjs")
    assert NODE is not None
    client = await asyncio.create_subprocess_exec(
        NODE, str(script), front.url, "100", "20", stdout=asyncio.subprocess.PIPE
    )
    assert client.stdout is not None
    delays = []
    async with asyncio.timeout(60):
        assert (await client.stdout.readline()).strip() == b"open"
        for n in range(1, 21):
            begun = time.monotonic()
            await front.publish(n)
            assert (await client.stdout.readline()).strip() == b"all %d" % n
            delays.append(time.monotonic() - begun)
        assert await client.wait() == 0
    print(f"median {statistics.median(delays) * 1000:.1f} ms, most {max(delays) * 1000:.1f} ms")
    assert statistics.median(delays) < 0.05


async def test_node_that_is_killed(front: Front) -> None:
    """The client comes back through nginx to the other node, and misses nothing."""
    await front.start()
    cursor, n, seen = "", 0, list[int]()
    killed = False
    while len(seen) < 20:
        with suppress(EOFError, aiohttp.ClientError):
            async with front.stream("alice", cursor) as following:
                while len(seen) < 20:
                    id_, name, data = await following()
                    cursor = id_ or cursor
                    if name == "notification":
                        seen.append(data["n"])
                    if len(seen) == 10 and not killed:
                        killed = True
                        front.plant.node.kill()  # it may be the one that holds the stream
                    if n < 20 and n == len(seen):
                        n += 1
                        await front.publish(n, user="alice")
    assert seen == list(range(1, 21))


async def test_reload_loses_nothing(front: Front) -> None:
    """Streams go on in the old workers; new ones are served by the new."""
    await front.start()
    async with front.stream("alice") as old:
        await old()
        await front.reload()
        async with front.stream("alice") as new:
            await new()
            for n in range(1, 6):
                await front.publish(n, user="alice")
                assert (await old())[2] == (await new())[2] == {"n": n}


async def test_without_the_directives(front: Front) -> None:
    """What they are for: a proxy that buffers holds an event back until more comes."""

    def buffering(text: str) -> str:
        text = re.sub(r"proxy_buffering off;.*", "proxy_ignore_headers X-Accel-Buffering;", text)
        return text.replace("location / {", "location / {\n proxy_buffers 8 64k;")

    await front.start(buffering)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), front.stream("alice") as following:
            await following()
