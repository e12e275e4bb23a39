"""The hub for all clients: two nodes that require tokens, a worker, simulated LLMs and Valkey.

One node ends each stream with hub.bye after 0.4 s, as a draining node or a maximum age would do.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import jwt
import msgspec
from aiohttp import web

from hub.http.server import ListenAddress, listen
from tests.e2e.cluster import Cluster, create_cluster
from tests.faults import FaultProxy
from tests.interop.weather_llm import WeatherLlm
from tests.interop.wordy_llm import WordyLlm

SECRET = "a secret of thirty-two bytes or more"
_KEY = {"Authorization": "Bearer key"}
_TIMEOUT_SECONDS = 60.0


class RunningHub:
    """Addresses of the hub, and the calls of a backend and of operators.

    expiring_node: the address of the node that ends its streams after 0.4 s. weather: the LLMs that
    call tools, by their upstreams: `turns` has chat completions and reports no token usage,
    `thinker` has Responses with encrypted reasoning, and `claude` has Anthropic's API.
    """

    def __init__(
        self,
        cluster: Cluster,
        expiring_node: tuple[str, int],
        wordy: WordyLlm,
        weather: dict[str, WeatherLlm] | None = None,
    ) -> None:
        self.cluster = cluster
        self.url = cluster.url
        self.main_node = ("127.0.0.1", cluster.port)
        self.expiring_node = expiring_node
        self.wordy = wordy
        self.weather = weather or {}
        self._users = itertools.count(1)

    def user(self) -> str:
        """Return the id of a new user."""
        return f"user-{next(self._users)}"

    def token(self, user: str) -> str:
        """Return a token as a login would issue it."""
        return jwt.encode({"sub": user, "exp": int(time.time()) + 600}, SECRET)

    async def ticket(self, user: str) -> str:
        """Request a ticket as a page does."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        async with self.cluster.session.post(f"{self.url}/tickets", headers=headers) as response:
            ticket: str = (await response.json())["ticket"]
            return ticket

    @asynccontextmanager
    async def proxied(self) -> AsyncIterator[tuple[FaultProxy, str]]:
        """Run a proxy in front of the main node; yield the proxy and its URL."""
        async with FaultProxy(self.main_node) as proxy:
            yield proxy, proxy.url

    async def publish(self, user: str, data: Iterable[Any]) -> None:
        """Publish an event `note` for each item of data, in order."""
        batch = [{"to": {"user": user}, "event": "note", "data": each} for each in data]
        url = f"{self.cluster.internal_url}/publish/batch"
        headers = {**_KEY, "Content-Type": "application/json"}
        body = msgspec.json.encode(batch)
        async with self.cluster.session.post(url, data=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            assert all("published" in each for each in await response.json())

    async def generation(self, user: str, generation: str) -> dict[str, Any]:
        """Return the snapshot of a generation."""
        url = f"{self.url}/generations/{generation}"
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        async with self.cluster.session.get(url, headers=headers) as response:
            assert response.status == 200, await response.text()
            snapshot: dict[str, Any] = await response.json()
            return snapshot

    async def wait_for_status(self, user: str, generation: str, status: str) -> dict[str, Any]:
        """Wait until a generation has a status; return its snapshot."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while (snapshot := await self.generation(user, generation))["status"] != status:
                await asyncio.sleep(0.02)
        return snapshot

    async def wait_disconnected(self, user: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        """Wait until no node has a connection of the user."""
        url = f"{self.cluster.internal_url}/users/{user}"
        async with asyncio.timeout(timeout_seconds):
            while True:
                async with self.cluster.session.get(url, headers=_KEY) as response:
                    if (await response.json())["total"] == 0:
                        return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def run_hub() -> AsyncIterator[RunningHub]:
    """Start the hub; stop it at the end of the block."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(create_cluster())
        cluster.set("AUTH__DISABLED", False)
        cluster.set("AUTH__HMAC_SECRET", SECRET)
        cluster.set(
            "AUTH__API_KEYS",
            [{"name": "shop", "key": "key", "scopes": ["publish", "read", "admin"]}],
        )
        cluster.set("STREAM__RETRY_MS", 100)
        cluster.set("STREAM__MAX_AGE_SECONDS", 0.4)
        cluster.set("STREAM__HEARTBEAT_SECONDS", 0.1)
        await cluster.add_upstream("MAIN", tokens_per_second=100.0)
        wordy = WordyLlm()
        await _add_llm(stack, cluster, "WORDY", wordy.app())
        cluster.set("UPSTREAMS__WORDY__DEFAULT_MODEL", "wordy")
        weather = {}
        for name in ("turns", "thinker", "claude"):
            weather[name] = WeatherLlm(reports_usage=name != "turns")
            await _add_llm(stack, cluster, name.upper(), weather[name].app())
        cluster.set("UPSTREAMS__THINKER__KIND", "openai-responses")
        cluster.set("UPSTREAMS__CLAUDE__KIND", "anthropic")
        cluster.set("UPSTREAMS__AGENT__KIND", "function")
        cluster.set("UPSTREAMS__AGENT__TARGET", "tests.interop.agent:app")
        cluster.set("DEFAULT_UPSTREAM", "main")
        cluster.set("GENERATIONS__FLUSH_SECONDS", 0.001)  # one delta per chunk
        await cluster.start()
        expiring_node = ("127.0.0.1", cluster.port)
        cluster.set("STREAM__MAX_AGE_SECONDS", 600)
        cluster.set("STREAM__HEARTBEAT_SECONDS", 8)
        await cluster.start_node()
        await cluster.start_worker()
        yield RunningHub(cluster, expiring_node, wordy, weather)


async def _add_llm(
    stack: AsyncExitStack, cluster: Cluster, name: str, app: web.Application
) -> None:
    """Serve an LLM of the tests, and configure it as an upstream."""
    address = ListenAddress("127.0.0.1", 0, "x")
    port = await stack.enter_async_context(
        listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1)
    )
    cluster.set(f"UPSTREAMS__{name}__BASE_URL", f"http://127.0.0.1:{port}/v1")
