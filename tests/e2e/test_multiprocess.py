"""`hub serve --workers N`: several processes, one port; what one hears, all deliver."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from hub.core.sse_decoder import SseDecoder
from tests.processes import Valkey
from tests.topologies import free_ports

CLIENTS = 40


class Fleet:
    """The supervisor's process and its ports."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, internal_port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.internal_url = f"http://127.0.0.1:{internal_port}"

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


@asynccontextmanager
async def fleet_of(workers: int, folder: Path, **more: str) -> AsyncIterator[Fleet]:
    """A fleet that has been started, whether or not it comes up."""
    port, internal_port = free_ports(2)
    env = {
        **os.environ,
        "HUB_NODE__NAME": "n",
        "HUB_REDIS__URL": f"unix://{folder}/valkey.sock",
        "HUB_AUTH__DISABLED": "true",
        "HUB_STREAM__RETRY_MS": "100",
        "HUB_LOGS__FORMAT": "json",
        **more,
    }
    flags = ("--port", str(port), "--internal-port", str(internal_port))
    with (folder / "fleet.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", "serve", "--workers", str(workers), *flags,
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=env,
        )  # fmt: skip
    try:
        yield Fleet(process, port, internal_port)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await process.wait()


async def ready(fleet: Fleet, session: aiohttp.ClientSession, *nodes: str) -> None:
    """Returns when each of these processes has said that it is ready."""
    missing = set(nodes)
    async with asyncio.timeout(60):
        while missing:
            try:
                # a connection of its own, so that the kernel chooses again
                headers = {"Connection": "close"}
                async with session.get(f"{fleet.internal_url}/readyz", headers=headers) as response:
                    if response.status == 200:
                        missing.discard((await response.json())["node"])
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)


class Client:
    """A stream of one user, and which process holds it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.node = ""
        self.seen: list[str] = []
        self._decoder = SseDecoder()

    async def until(self, name: str) -> None:
        """Reads up to an event of that name."""
        async with asyncio.timeout(30):
            while True:
                chunk = await self.response.content.readany()
                assert chunk, "the stream ended"
                for event in self._decoder.feed(chunk):
                    if event.name == "hub.open":
                        self.node = json.loads(event.data)["node"]
                    else:
                        self.seen.append(event.data)
                    if event.name == name:
                        return


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """Where a broker listens."""
    valkey = Valkey(tmp_path)
    await valkey.start()
    yield tmp_path
    await valkey.kill()


async def test_processes_share_the_port(folder: Path) -> None:
    """Clients are spread, each event reaches all of them, a killed process is started again, and
    SIGTERM drains all.
    """
    unlimited = aiohttp.TCPConnector(limit=0)
    async with fleet_of(2, folder) as fleet, aiohttp.ClientSession(connector=unlimited) as session:
        await ready(fleet, session, "n-1", "n-2")
        clients = [
            Client(await session.get(f"{fleet.url}/sse/connect/u{n}")) for n in range(CLIENTS)
        ]
        for client in clients:
            await client.until("hub.open")
        assert {client.node for client in clients} == {"n-1", "n-2"}

        body = {"to": {"all": True}, "event": "news", "data": 1}
        async with session.post(f"{fleet.internal_url}/publish", json=body) as response:
            assert response.status == 200
        for client in clients:
            await client.until("news")
        async with session.get(f"{fleet.internal_url}/metrics") as response:
            told = await response.text()
        for what in ("connections{", "events_delivered_total{"):
            lines = [line for line in told.splitlines() if line.startswith(f"hub_{what}")]
            by_process = {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}
            assert by_process.keys() == {"n-1", "n-2"}
            assert sum(by_process.values()) == CLIENTS

        first, second = fleet.children()
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(60):
            while len(set(fleet.children()) - {first, second}) == 0:
                await asyncio.sleep(0.05)
        await ready(fleet, session, "n-1", "n-2")

        fleet.process.terminate()
        async with asyncio.timeout(60):
            assert await fleet.process.wait() == 0
        assert not await asyncio.to_thread(Path(f"/proc/{second}").exists)


@pytest.mark.parametrize(
    ("more", "code"),
    [({"HUB_REDIS__URL": "unix:///nowhere"}, 3), ({"HUB_AUTH__DISABLED": "false"}, 2)],
)
async def test_what_cannot_start_says_so(tmp_path: Path, more: dict[str, str], code: int) -> None:
    """An absent broker and wrong settings end it with the code that one process would have."""
    async with fleet_of(2, tmp_path, **more) as fleet, asyncio.timeout(60):
        assert await fleet.process.wait() == code


async def test_taken_port_is_said(folder: Path) -> None:
    """Also when the one that listens would share it."""
    async with fleet_of(2, folder) as fleet, aiohttp.ClientSession() as session:
        await ready(fleet, session, "n-1")
        flags = ["--port", fleet.url.rpartition(":")[2], "--internal-port", "1"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", "serve", "--workers", "2", *flags,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HUB_AUTH__DISABLED": "true"},
        )  # fmt: skip
        _, said = await process.communicate()
        assert process.returncode == 2
        assert b"cannot listen on 127.0.0.1" in said
