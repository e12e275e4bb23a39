"""F3, second half: stop a node with 5,000 clients."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator

import pytest

from tests.e2e.cluster import Cluster, create_cluster

CLIENTS = 5_000
DRAIN_SECONDS = 4.0


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Yield a cluster that is not started yet."""
    async with create_cluster() as cluster:
        cluster.set("LOGS__LEVEL", "warning")
        yield cluster


class Client(asyncio.Protocol):
    """Store the received bytes and the time of the end."""

    def __init__(self) -> None:
        self.data = b""
        self.ended_at = 0.0

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.ended_at = time.monotonic()


async def connect(cluster: Cluster, number: int) -> Client:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Client, "127.0.0.1", cluster.port)
    transport.write(f"GET /sse/connect/u{number} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    return client


@pytest.mark.slow
async def test_drain_of_five_thousand(cluster: Cluster) -> None:
    """Each client receives hub.bye with its own retry time, spread over the time of the drain."""
    cluster.set("NODE__DRAIN_SECONDS", str(DRAIN_SECONDS))
    await cluster.start()
    clients: list[Client] = []
    for first in range(0, CLIENTS, 250):
        batch = (connect(cluster, number) for number in range(first, first + 250))
        clients += await asyncio.gather(*batch)
    async with asyncio.timeout(150):
        while not all(b"hub.open" in client.data for client in clients):
            await asyncio.sleep(0.05)
    signalled_at = time.monotonic()
    cluster.node.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(cluster.node.wait(), 120) == 0
    async with asyncio.timeout(60):
        while not all(client.ended_at for client in clients):
            await asyncio.sleep(0.05)
    # Other processes that need the CPU make the drain longer, never shorter.
    ended_at = [client.ended_at for client in clients]
    assert max(ended_at) - signalled_at > DRAIN_SECONDS * 0.8
    assert max(ended_at) - min(ended_at) > DRAIN_SECONDS / 4
    retry_ms = []
    for client in clients:
        _, bye = client.data.split(b"event: hub.bye\ndata: ")
        data = json.loads(bye.partition(b"\n")[0])
        assert (data["reason"], data["reconnect"]) == ("draining", True)
        assert client.data.endswith(b"0\r\n\r\n")
        retry_ms.append(data["retry_ms"])
    assert 3000 <= min(retry_ms) < 3100
    assert 7900 < max(retry_ms) <= 8000  # 1,000 clients a second


async def test_second_signal_ends_the_drain(cluster: Cluster) -> None:
    """A second SIGTERM closes all connections at once, long before the end of the drain."""
    cluster.set("NODE__DRAIN_SECONDS", "120")
    await cluster.start()
    clients = await asyncio.gather(*(connect(cluster, number) for number in range(50)))
    async with asyncio.timeout(60):
        while not all(b"hub.open" in client.data for client in clients):
            await asyncio.sleep(0.02)
    cluster.node.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        while not any(client.ended_at for client in clients):  # until the drain has started
            await asyncio.sleep(0.02)
    cluster.node.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(cluster.node.wait(), 60) == 0
    assert all(client.data.endswith(b"0\r\n\r\n") for client in clients)
