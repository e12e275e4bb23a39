"""The hub that all clients meet: tokens required, two nodes, a worker, a simulated LLM, Valkey.

The second node ends its streams politely after a moment, as one does that drains or has a greatest
age for connections.
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

from hub.http.server import ListenAddress, listen
from tests.e2e.cluster import Cluster, create_cluster
from tests.faults import FaultProxy
from tests.interop.wordy_llm import WordyLlm

_SECRET = "a secret of thirty-two bytes or more"
_KEY = {"Authorization": "Bearer key"}
_PATIENCE_SECONDS = 10.0


class Site:
    """Addresses, and what an application's backend and its operators do."""

    def __init__(self, cluster: Cluster, restless: tuple[str, int], wordy: WordyLlm) -> None:
        self.cluster = cluster
        self.url = cluster.url
        self.steady = ("127.0.0.1", cluster.port)
        self.restless = restless
        self.wordy = wordy
        self._users = itertools.count(1)

    def user(self) -> str:
        """One that nobody else has."""
        return f"user-{next(self._users)}"

    def token(self, user: str) -> str:
        """As a login would mint it."""
        return jwt.encode({"sub": user, "exp": int(time.time()) + 600}, _SECRET)

    async def ticket(self, user: str) -> str:
        """As a page asks for one."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        async with self.cluster.session.post(f"{self.url}/tickets", headers=headers) as answer:
            found: str = (await answer.json())["ticket"]
            return found

    @asynccontextmanager
    async def proxied(self) -> AsyncIterator[tuple[FaultProxy, str]]:
        """A proxy to the steady node, and its URL."""
        async with FaultProxy(self.steady) as proxy:
            yield proxy, f"http://127.0.0.1:{proxy.port}"

    async def publish(self, user: str, data: Iterable[Any]) -> None:
        """Events `note` with these data, in order."""
        batch = [{"to": {"user": user}, "event": "note", "data": each} for each in data]
        url = f"{self.cluster.internal_url}/publish/batch"
        headers = {**_KEY, "Content-Type": "application/json"}
        body = msgspec.json.encode(batch)
        async with self.cluster.session.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert all("published" in each for each in await answer.json())

    async def generation(self, user: str, generation: str) -> dict[str, Any]:
        """Its snapshot."""
        url = f"{self.url}/generations/{generation}"
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        async with self.cluster.session.get(url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def until_status(self, user: str, generation: str, status: str) -> dict[str, Any]:
        """The snapshot that has it."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (found := await self.generation(user, generation))["status"] != status:
                await asyncio.sleep(0.02)
        return found

    async def until_gone(self, user: str) -> None:
        """Until no node has a stream of the user."""
        url = f"{self.cluster.internal_url}/users/{user}"
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                async with self.cluster.session.get(url, headers=_KEY) as answer:
                    if (await answer.json())["total"] == 0:
                        return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """Started, and ended at the end."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(create_cluster())
        cluster.set("AUTH__DISABLED", False)
        cluster.set("AUTH__HMAC_SECRET", _SECRET)
        cluster.set(
            "AUTH__API_KEYS",
            [{"name": "shop", "key": "key", "scopes": ["publish", "read", "admin"]}],
        )
        cluster.set("STREAM__RETRY_MS", 100)
        cluster.set("STREAM__MAX_AGE_SECONDS", 0.4)
        cluster.set("STREAM__HEARTBEAT_SECONDS", 0.1)
        await cluster.add_upstream("MAIN", tokens_per_second=100.0)
        place = ListenAddress("127.0.0.1", 0, "x")
        wordy = WordyLlm()
        port = await stack.enter_async_context(
            listen(wordy.app(), place, cancel_handlers=True, shutdown_timeout_seconds=0.1)
        )
        cluster.set("UPSTREAMS__WORDY__BASE_URL", f"http://127.0.0.1:{port}/v1")
        cluster.set("UPSTREAMS__WORDY__DEFAULT_MODEL", "wordy")
        cluster.set("DEFAULT_UPSTREAM", "main")
        cluster.set("GENERATIONS__FLUSH_SECONDS", 0.001)  # a delta for each piece
        await cluster.start()
        restless = ("127.0.0.1", cluster.port)
        cluster.set("STREAM__MAX_AGE_SECONDS", 600)
        cluster.set("STREAM__HEARTBEAT_SECONDS", 8)
        await cluster.start_node()
        await cluster.start_worker()
        yield Site(cluster, restless, wordy)
