"""nginx with config/nginx.conf in front of two nodes: real processes on loopback."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from hub.core.sse_decoder import SseDecoder
from tests.certificates import write_certificate
from tests.e2e.cluster import Cluster, Process
from tests.topologies import free_ports

CONFIG = Path(__file__).parents[2] / "config" / "nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/opt/homebrew/bin")


class NginxProxy:
    """nginx and the two nodes behind it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        (self.port,) = free_ports(1)
        self.url = f"https://localhost:{self.port}"
        self.second: Process
        self.first_port = self.second_port = 0
        cert, key = write_certificate(folder)
        self.trust = ssl.create_default_context(cafile=cert)
        self.certificate, self._key = cert, key

    async def start(self, change: Any = lambda text: text) -> None:
        """Start the nodes and nginx. change: edits the configuration file."""
        cluster = self.cluster
        await cluster.start()
        self.first_port = cluster.port
        self.second = await cluster.start_node()
        self.second_port = cluster.port
        text = CONFIG.read_text()
        for old, new in {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "127.0.0.1:8080": f"127.0.0.1:{self.first_port}",
            "127.0.0.1:8090": f"127.0.0.1:{self.second_port}",
            "/etc/nginx/hub.crt": self.certificate,
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
        async with asyncio.timeout(60):
            while True:
                with suppress(aiohttp.ClientError):
                    url = f"{self.url}/generations/g00nothing?user=a"
                    async with cluster.session.get(url, ssl=self.trust) as response:
                        if response.status == 404:
                            return
                await asyncio.sleep(0.05)

    async def reload(self) -> None:
        """Reload nginx and return when its new workers run. The old ones finish their requests."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        old = await asyncio.to_thread(children.read_text)
        self._process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while not set((await asyncio.to_thread(children.read_text)).split()) - {*old.split()}:
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    @asynccontextmanager
    async def stream(self, user: str, cursor: str = "") -> AsyncIterator[Any]:
        """Open a stream and yield a function that returns the next event: id, name, data."""
        decoder, received = SseDecoder(), list[Any]()
        headers = {"Last-Event-ID": cursor} if cursor else {}
        url = f"{self.url}/sse/connect/{user}"
        async with self.cluster.session.get(url, headers=headers, ssl=self.trust) as response:
            assert response.status == 200

            async def next_event(seconds: float = 60.0) -> tuple[str, str, Any]:
                async with asyncio.timeout(seconds):
                    while not received:
                        chunk = await response.content.readany()
                        if not chunk:
                            raise EOFError
                        received.extend(decoder.feed(chunk))
                event = received.pop(0)
                return event.id, event.name, json.loads(event.data)

            yield next_event

    async def publish(self, n: int, **to: Any) -> None:
        body = {"to": to or {"all": True}, "data": {"n": n}, "id": f"n{n}"}
        url = f"{self.cluster.internal_url}/publish"
        async with self.cluster.session.post(url, json=body) as response:
            assert response.status == 200
