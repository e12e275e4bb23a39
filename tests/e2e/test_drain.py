"""F3, second half: a node with 5,000 clients is told to end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator

import pytest

from tests.e2e.cluster import Cluster, create_cluster

CLIENTS = 5_000
DRAIN_SECONDS = 3.0


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Nothing runs yet."""
    async with create_cluster() as cluster:
        cluster.set("LOGS__LEVEL", "warning")
        yield cluster


class Client(asyncio.Protocol):
    """Keeps what comes, and when it ended."""

    def __init__(self) -> None:
        self.data = b""
        self.ended_at = 0.0

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.ended_at = time.monotonic()


async def connected(cluster: Cluster, number: int) -> Client:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Client, "127.0.0.1", cluster.port)
    transport.write(f"GET /sse/connect/u{number} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    return client


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_drain_of_five_thousand(cluster: Cluster) -> None:
    """Each is told goodbye and when to return; not all at once; it ends within its deadline."""
    cluster.set("NODE__DRAIN_SECONDS", str(DRAIN_SECONDS))
    await cluster.start()
    clients: list[Client] = []
    for first in range(0, CLIENTS, 250):
        batch = (connected(cluster, number) for number in range(first, first + 250))
        clients += await asyncio.gather(*batch)
    async with asyncio.timeout(60):
        while not all(b"hub.open" in client.data for client in clients):
            await asyncio.sleep(0.05)
    begun = time.monotonic()
    cluster.node.send_signal(signal.SIGTERM)
    await asyncio.sleep(DRAIN_SECONDS / 2)
    gone = sum(client.ended_at > 0 for client in clients)
    assert CLIENTS * 0.2 < gone < CLIENTS * 0.8  # about half of them
    assert await asyncio.wait_for(cluster.node.wait(), DRAIN_SECONDS + 5) == 0
    seconds = time.monotonic() - begun
    waits = []
    for client in clients:
        _, bye = client.data.split(b"event: hub.bye\ndata: ")
        data = json.loads(bye.partition(b"\n")[0])
        assert (data["reason"], data["reconnect"]) == ("draining", True)
        assert client.data.endswith(b"0\r\n\r\n")
        waits.append(data["retry_ms"])
    assert 3000 <= min(waits) < 3100
    assert 7900 < max(waits) <= 8000  # a thousand a second
    print(f"{CLIENTS} clients drained in {seconds:.1f} s")
    assert seconds < DRAIN_SECONDS + 3


async def test_second_signal_hurries(cluster: Cluster) -> None:
    """Nobody is waited for any longer: the drain alone would take longer than a busy machine."""
    cluster.set("NODE__DRAIN_SECONDS", "120")
    await cluster.start()
    clients = await asyncio.gather(*(connected(cluster, number) for number in range(50)))
    async with asyncio.timeout(30):
        while not all(b"hub.open" in client.data for client in clients):
            await asyncio.sleep(0.02)
    cluster.node.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        while not any(client.ended_at for client in clients):  # it has begun to drain
            await asyncio.sleep(0.02)
    cluster.node.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(cluster.node.wait(), 60) == 0
    assert all(client.data.endswith(b"0\r\n\r\n") for client in clients)
