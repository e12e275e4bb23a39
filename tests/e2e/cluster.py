"""Nodes, workers and simulated LLMs as real processes, with a Valkey of their own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import redis.asyncio
from aiohttp import web

from hub.backends.redis.keys import JOBS_GROUP, jobs_stream
from hub.core.fair_queue import DEFAULT_QUEUE
from hub.core.sse_decoder import SseDecoder
from hub.http.server import ListenAddress, listen
from hub.upstreams.simulated.server import SimulatedUpstream
from tests.conftest import temporary_folder
from tests.defaults import simulation
from tests.forked_hub import HubProcess, start_hub
from tests.processes import Valkey
from tests.topologies import free_ports

ENDS = {"generation.done", "generation.stopped", "generation.failed"}
Process = asyncio.subprocess.Process | HubProcess
GenerationEvents = list[tuple[str, dict[str, Any]]]


class Cluster:
    """Nodes, workers and simulated upstreams. `url` and `port` are those of the newest node.

    has_fresh_processes: start `python -m hub`, for example with a clock of its own (LD_PRELOAD).
    """

    def __init__(
        self,
        folder: Path,
        stack: AsyncExitStack,
        session: aiohttp.ClientSession,
        *,
        has_fresh_processes: bool = False,
    ) -> None:
        self._folder = folder
        self._has_fresh_processes = has_fresh_processes
        self._stack = stack
        self.session = session
        self._env = {**os.environ, "HUB_AUTH__DISABLED": "true", "HUB_LOGS__FORMAT": "json"}
        self._more: dict[str, str] = {}
        self._processes: list[Process] = []
        self.upstreams: dict[str, str] = {}
        self._simulated: dict[str, SimulatedUpstream] = {}
        self.upstream_requests: list[web.Request] = []
        self.url = self.internal_url = ""
        self.port = self.internal_port = 0
        self.node: Process

    async def add_upstream(self, name: str, fault: str | None = None, **settings: Any) -> None:
        """Start a simulated LLM. settings: those of the upstream."""
        speed = settings.pop("tokens_per_second", 2000.0)
        simulated = self._simulated[name] = SimulatedUpstream(
            simulation(fault=fault, tokens_per_second=speed, first_token_seconds=0.0)
        )
        app = simulated.app()
        app.on_response_prepare.append(self._record_request)
        address = ListenAddress("127.0.0.1", 0, "x")
        port = await self._stack.enter_async_context(
            listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1)
        )
        self.upstreams[name] = f"http://127.0.0.1:{port}"
        self.set(f"UPSTREAMS__{name}__BASE_URL", f"http://127.0.0.1:{port}/v1")
        self.set(f"UPSTREAMS__{name}__DEFAULT_MODEL", "simulated-1")
        for key, value in settings.items():
            self.set(f"UPSTREAMS__{name}__{key}", value)

    def set_speed(self, upstream: str, tokens_per_second: float) -> None:
        """Change the speed of an upstream, also for answers that are running."""
        simulated = self._simulated[upstream]
        simulated._simulation = msgspec.structs.replace(
            simulated._simulation, tokens_per_second=tokens_per_second
        )

    async def _record_request(self, request: web.Request, response: web.StreamResponse) -> None:
        self.upstream_requests.append(request)

    def set(self, name: str, value: Any) -> None:
        """Set a setting for the processes that start from now on."""
        self._env[f"HUB_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)

    def set_environment(self, variables: Mapping[str, str]) -> None:
        """Set variables for the processes that start from now on, instead of those of before."""
        for name in self._more:
            del self._env[name]
        self._more = dict(variables)
        self._env.update(variables)

    async def start(self, *flags: str) -> None:
        """Start Valkey and a node. flags: options of `hub serve`."""
        valkey = Valkey(self._folder)
        await valkey.start()
        self._stack.push_async_callback(valkey.kill)
        self.set("REDIS__URL", f"unix://{valkey.socket}")
        self.node = await self.start_node(*flags)

    async def start_node(self, *flags: str, port: int | None = None) -> Process:
        """Start one more node and return when it is ready. port: the public one, by default a
        free one.
        """
        self.port, self.internal_port = free_ports(2)
        self.port = port or self.port
        self.set("PUBLIC__PORT", str(self.port))
        self.set("INTERNAL__PORT", str(self.internal_port))
        self.set("NODE__NAME", f"node-{self.port}")
        self.url = f"http://127.0.0.1:{self.port}"
        self.internal_url = f"http://127.0.0.1:{self.internal_port}"
        process = await self._start_process("serve", *flags)
        async with asyncio.timeout(60):
            while True:
                try:
                    async with self.session.get(f"{self.internal_url}/readyz") as response:
                        if response.status == 200:
                            return process
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    def log(self, command: str) -> str:
        """Return the output of all processes of a command."""
        return (self._folder / f"{command}.log").read_text()

    async def start_worker(self) -> Process:
        """Start one more worker."""
        return await self._start_process("worker")

    async def start_ready_worker(self) -> Process:
        """Start one more worker and return when it takes requests from the queue."""
        (port,) = free_ports(1)
        self.set("WORKER__PORT", str(port))
        process = await self.start_worker()
        async with asyncio.timeout(60):
            while True:
                with suppress(aiohttp.ClientError):
                    async with self.session.get(f"http://127.0.0.1:{port}/healthz") as response:
                        if (await response.json())["state"] == "running":
                            return process
                await asyncio.sleep(0.02)

    async def stats(self, name: str) -> dict[str, int]:
        """Return the counters of an upstream."""
        async with self.session.get(f"{self.upstreams[name]}/stats") as response:
            counters: dict[str, int] = await response.json()
            return counters

    async def count_reserved_jobs(self) -> int:
        """Return the number of jobs that were given to a worker and are not complete."""
        client: Any = redis.asyncio.Redis.from_url(self._env["HUB_REDIS__URL"], protocol=2)
        try:
            if not await client.exists(jobs_stream(DEFAULT_QUEUE)):
                return 0
            pending = (await client.xpending(jobs_stream(DEFAULT_QUEUE), JOBS_GROUP))["pending"]
        finally:
            await client.aclose()
        return int(pending)

    async def start_generation(
        self, user: str, prompt: str, upstream: str
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the response."""
        body = {"prompt": prompt, "upstream": upstream}
        url = f"{self.url}/generations?user={user}"
        async with self.session.post(url, json=body) as response:
            return response.status, await response.json()

    async def read_generation(
        self,
        user: str,
        cursor: str,
        *,
        more_seconds: float = 0.0,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> GenerationEvents:
        """Return the user's generation events up to an end event.

        more_seconds: keep reading for this time after the end event. on_event: called with the name
        of each event when it arrives. Raise TimeoutError if no end
        event comes.
        """
        decoder, events = SseDecoder(), list[tuple[str, dict[str, Any]]]()
        url = f"{self.url}/sse/connect/{user}"
        headers = {"Last-Event-ID": cursor}
        async with self.session.get(url, headers=headers) as response:
            timeout = asyncio.timeout(120)
            try:
                async with timeout:
                    async for chunk in response.content.iter_any():
                        for event in decoder.feed(chunk):
                            if event.name.startswith("generation."):
                                events.append((event.name, json.loads(event.data)))
                                on_event(event.name)
                            if event.name in ENDS:
                                now = asyncio.get_running_loop().time()
                                timeout.reschedule(now + more_seconds)
            except TimeoutError:
                if not any(name in ENDS for name, _ in events):
                    raise
        return events

    async def _start_process(self, command: str, *flags: str) -> Process:
        process: Process
        with (self._folder / f"{command}.log").open("ab") as log:
            if not self._has_fresh_processes:
                process = start_hub(command, *flags, env=self._env, output=log)
            else:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "hub", command, *flags,
                    stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._env,
                )  # fmt: skip
        self._stack.push_async_callback(_kill, process)
        return process


async def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@asynccontextmanager
async def create_cluster() -> AsyncIterator[Cluster]:
    """Create a cluster without processes; all of them are killed at the end."""
    async with AsyncExitStack() as stack:
        folder = temporary_folder("cluster", stack)
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        cluster = Cluster(folder, stack, session)
        cluster.set("REDIS__TIMEOUT_SECONDS", 10)  # Valkey may be slow on a busy machine
        yield cluster
