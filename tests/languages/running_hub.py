"""The hub for the programs: a node with gRPC that requires tokens, a worker, and LLMs that fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from hub.http.server import ListenAddress, listen
from tests.e2e.cluster import Cluster, create_cluster
from tests.interop.running_hub import SECRET, RunningHub
from tests.interop.wordy_llm import WordyLlm
from tests.topologies import free_ports

KEY: Final = "key"
_HEADERS: Final = {"Authorization": f"Bearer {KEY}"}


class LanguagesHub(RunningHub):
    """grpc_address, internal_grpc_address: of the two listeners of gRPC."""

    def __init__(self, cluster: Cluster, wordy: WordyLlm, grpc_ports: list[int]) -> None:
        super().__init__(cluster, ("127.0.0.1", cluster.port), wordy)
        self.grpc_port = grpc_ports[0]
        self.grpc_address, self.internal_grpc_address = (f"127.0.0.1:{port}" for port in grpc_ports)

    async def disconnect(self, user: str) -> None:
        """Disconnect a user as an operator does."""
        url = f"{self.cluster.internal_url}/users/{user}/connections"
        async with self.cluster.session.delete(url, headers=_HEADERS) as response:
            assert response.ok, await response.text()

    async def stored_events(self, user: str) -> list[tuple[str, Any]]:
        """Return the name and data of each stored event of a user."""
        url = f"{self.cluster.internal_url}/users/{user}/events"
        async with self.cluster.session.get(url, headers=_HEADERS) as response:
            assert response.status == 200, await response.text()
            events = (await response.json())["events"]
            return [(event["event"], event["data"]) for event in events]

    async def newest_generation(self, user: str) -> dict[str, Any]:
        """Return the newest answer of a user."""
        events = await self.stored_events(user)
        started = [data["generation"] for name, data in events if name == "generation.started"]
        return await self.generation(user, started[-1])


@asynccontextmanager
async def run_hub() -> AsyncIterator[LanguagesHub]:
    """Start the hub; stop it at the end of the block."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(create_cluster())
        cluster.set("AUTH__DISABLED", False)
        cluster.set("AUTH__HMAC_SECRET", SECRET)
        scopes = ["publish", "read", "admin"]
        cluster.set("AUTH__API_KEYS", [{"name": "shop", "key": KEY, "scopes": scopes}])
        cluster.set("STREAM__RETRY_MS", 100)
        grpc_ports = free_ports(2)
        cluster.set("PUBLIC__GRPC_PORT", str(grpc_ports[0]))
        cluster.set("INTERNAL__GRPC_PORT", str(grpc_ports[1]))
        await cluster.add_upstream("MAIN", tokens_per_second=100.0)
        once = {"retries": 0, "circuit_failure_threshold": 1000}
        await cluster.add_upstream("BROKEN", fault="error:40", tokens_per_second=40.0, **once)
        await cluster.add_upstream("REFUSING", fault="status:400", **once)
        wordy = WordyLlm()
        address = ListenAddress("127.0.0.1", 0, "x")
        port = await stack.enter_async_context(
            listen(wordy.app(), address, cancel_handlers=True, shutdown_timeout_seconds=0.1)
        )
        cluster.set("UPSTREAMS__WORDY__BASE_URL", f"http://127.0.0.1:{port}/v1")
        cluster.set("UPSTREAMS__WORDY__DEFAULT_MODEL", "wordy")
        cluster.set("DEFAULT_UPSTREAM", "main")
        cluster.set("GENERATIONS__FLUSH_SECONDS", 0.001)  # one delta per chunk
        await cluster.start()
        await cluster.start_ready_worker()
        yield LanguagesHub(cluster, wordy, grpc_ports)
