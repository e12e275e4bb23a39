"""`hub serve --workers N`: several processes share a port, and all of them deliver each event."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from hub.core.sse_decoder import SseDecoder
from tests.forked_hub import HubProcess, hub_program, start_hub
from tests.processes import Valkey
from tests.topologies import free_ports

CLIENTS = 40


class Supervisor:
    """The process of the supervisor, and its URLs."""

    def __init__(self, process: HubProcess, port: int, internal_port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.internal_url = f"http://127.0.0.1:{internal_port}"

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


@asynccontextmanager
async def start_supervisor(workers: int, folder: Path, **more: str) -> AsyncIterator[Supervisor]:
    """Start `hub serve --workers N`. It may fail to become ready."""
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
    with (folder / "serve.log").open("ab") as log:
        process = start_hub("serve", "--workers", str(workers), *flags, env=env, output=log)
    try:
        yield Supervisor(process, port, internal_port)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await process.wait()


async def wait_until_ready(
    supervisor: Supervisor, session: aiohttp.ClientSession, *nodes: str
) -> None:
    """Return when each of these processes has reported that it is ready."""
    missing = set(nodes)
    async with asyncio.timeout(60):
        while missing:
            try:
                # a new connection, so that the kernel chooses a process again
                headers = {"Connection": "close"}
                async with session.get(
                    f"{supervisor.internal_url}/readyz", headers=headers
                ) as response:
                    if response.status == 200:
                        missing.discard((await response.json())["node"])
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)


async def read_metric(
    supervisor: Supervisor, session: aiohttp.ClientSession, metric: str
) -> dict[str, float]:
    """Return the value of each process that has told it."""
    async with session.get(f"{supervisor.internal_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    lines = [line for line in lines if line.startswith(f"hub_{metric}{{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


class Client:
    """A stream of one user. node: the process that serves it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.node = ""
        self.received: list[str] = []
        self._decoder = SseDecoder()

    async def read_until(self, name: str) -> None:
        """Read up to an event of this name."""
        async with asyncio.timeout(60):
            while True:
                chunk = await self.response.content.readany()
                assert chunk, "the stream ended"
                for event in self._decoder.feed(chunk):
                    if event.name == "hub.open":
                        self.node = json.loads(event.data)["node"]
                    else:
                        self.received.append(event.data)
                    if event.name == name:
                        return


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """The directory of a Valkey's socket."""
    valkey = Valkey(tmp_path)
    await valkey.start()
    yield tmp_path
    await valkey.kill()


async def test_processes_share_the_port(folder: Path) -> None:
    """Clients are spread over the processes, and each event reaches all of them.

    A killed process is restarted, and SIGTERM drains all processes.
    """
    unlimited = aiohttp.TCPConnector(limit=0)
    async with (
        start_supervisor(2, folder) as supervisor,
        aiohttp.ClientSession(connector=unlimited) as session,
    ):
        await wait_until_ready(supervisor, session, "n-1", "n-2")
        clients = [
            Client(await session.get(f"{supervisor.url}/sse/connect/u{n}")) for n in range(CLIENTS)
        ]
        for client in clients:
            await client.read_until("hub.open")
        assert {client.node for client in clients} == {"n-1", "n-2"}

        body = {"to": {"all": True}, "event": "news", "data": 1}
        async with session.post(f"{supervisor.internal_url}/publish", json=body) as response:
            assert response.status == 200
        for client in clients:
            await client.read_until("news")
        for metric in ("connections", "events_delivered_total"):
            by_process: dict[str, float] = {}
            async with asyncio.timeout(60):  # a process that stalls for a second is left out
                while by_process.keys() != {"n-1", "n-2"}:
                    by_process = await read_metric(supervisor, session, metric)
            assert sum(by_process.values()) == CLIENTS

        first, second = supervisor.children()
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(60):
            while len(set(supervisor.children()) - {first, second}) == 0:
                await asyncio.sleep(0.05)
        await wait_until_ready(supervisor, session, "n-1", "n-2")

        supervisor.process.terminate()
        async with asyncio.timeout(60):
            assert await supervisor.process.wait() == 0
        assert not await asyncio.to_thread(Path(f"/proc/{second}").exists)


@pytest.mark.parametrize(
    ("more", "code"),
    [({"HUB_REDIS__URL": "unix:///nowhere"}, 3), ({"HUB_AUTH__DISABLED": "false"}, 2)],
)
async def test_failed_start_sets_the_exit_code(
    tmp_path: Path, more: dict[str, str], code: int
) -> None:
    """An absent broker and wrong settings give the exit code of a single process."""
    async with start_supervisor(2, tmp_path, **more) as supervisor, asyncio.timeout(60):
        assert await supervisor.process.wait() == code


async def test_port_in_use_is_refused(folder: Path) -> None:
    """The port is refused even when the other process would share it."""
    async with start_supervisor(2, folder) as supervisor, aiohttp.ClientSession() as session:
        await wait_until_ready(supervisor, session, "n-1")
        flags = ["--port", supervisor.url.rpartition(":")[2], "--internal-port", "1"]
        process = await asyncio.create_subprocess_exec(
            hub_program(), "serve", "--workers", "2", *flags,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HUB_AUTH__DISABLED": "true"},
        )  # fmt: skip
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert b"cannot listen on 127.0.0.1" in errors
