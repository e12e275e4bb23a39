"""The real nginx, with config/nginx.conf, before two nodes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import ssl
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.core.sse_decoder import SseDecoder
from tests.certificates import write_certificate
from tests.e2e.plant import Plant, planted
from tests.topologies import free_ports

CONFIG = Path(__file__).parents[2] / "config" / "nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/opt/homebrew/bin")
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


class Front:
    """nginx and the two nodes behind it."""

    def __init__(self, plant: Plant, folder: Path) -> None:
        self.plant = plant
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        (self.port,) = free_ports(1)
        self.url = f"https://localhost:{self.port}"
        self.second: asyncio.subprocess.Process
        self.second_port = 0
        cert, key = write_certificate(folder)
        self.trust = ssl.create_default_context(cafile=cert)
        self._cert, self._key = cert, key

    async def start(self, change: Any = lambda text: text) -> None:
        """`change` edits the file."""
        plant = self.plant
        await plant.start()
        first_port = plant.port
        self.second = await plant.another_node()
        self.second_port = plant.port
        text = CONFIG.read_text()
        for old, new in {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "127.0.0.1:8080": f"127.0.0.1:{first_port}",
            "127.0.0.1:8090": f"127.0.0.1:{self.second_port}",
            "/etc/nginx/hub.crt": self._cert,
            "/etc/nginx/hub.key": self._key,
        }.items():
            assert old in text
            text = text.replace(old, new)
        folder = self._folder
        head = f"pid {folder}/pid;\nerror_log {folder}/error.log;\ndaemon off;\n"
        paths = "".join(
            f"    {name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = head + text.replace("http {\n", f"http {{\n    access_log off;\n{paths}", 1)
        (folder / "nginx.conf").write_text(change(text))
        assert NGINX is not None
        self._process = await asyncio.create_subprocess_exec(
            NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", f"{folder}/error.log"
        )
        async with asyncio.timeout(10):
            while True:
                with suppress(aiohttp.ClientError):
                    url = f"{self.url}/generations/g00nothing?user=a"
                    async with plant.session.get(url, ssl=self.trust) as answer:
                        if answer.status == 404:
                            return
                await asyncio.sleep(0.05)

    def reload(self) -> None:
        """New workers; the old ones go on with what they have."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    @asynccontextmanager
    async def stream(self, user: str, cursor: str = "") -> AsyncIterator[Any]:
        """Gives a function that waits for the next event: id, name, data."""
        decoder, ready = SseDecoder(), list[Any]()
        headers = {"Last-Event-ID": cursor} if cursor else {}
        url = f"{self.url}/sse/connect/{user}"
        async with self.plant.session.get(url, headers=headers, ssl=self.trust) as response:
            assert response.status == 200

            async def following(seconds: float = 5.0) -> tuple[str, str, Any]:
                async with asyncio.timeout(seconds):
                    while not ready:
                        chunk = await response.content.readany()
                        if not chunk:
                            raise EOFError
                        ready.extend(decoder.feed(chunk))
                event = ready.pop(0)
                return event.id, event.name, json.loads(event.data)

            yield following

    async def publish(self, n: int, **to: Any) -> None:
        body = {"to": to or {"all": True}, "data": {"n": n}, "id": f"n{n}"}
        url = f"{self.plant.internal_url}/publish"
        async with self.plant.session.post(url, json=body) as answer:
            assert answer.status == 200


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Not started yet."""
    async with planted() as plant:
        front = Front(plant, tmp_path)
        yield front
        await front.stop()


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
    async with asyncio.timeout(30):
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
        front.reload()
        await asyncio.sleep(0.5)
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
