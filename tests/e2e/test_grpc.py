"""gRPC as operators run it: `hub serve --workers 2`, a worker, a real answer, SIGTERM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import jwt
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubInternalStub, HubStub
from tests.e2e.cluster import Cluster, create_cluster
from tests.grpc.kit import Reading
from tests.topologies import free_ports

SECRET = "e2e-" * 16
CLIENTS = 20


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Nothing runs yet; tokens and keys are needed."""
    async with create_cluster() as cluster:
        cluster.set("AUTH__DISABLED", "false")
        cluster.set("AUTH__HMAC_SECRET", SECRET)
        cluster.set("AUTH__API_KEYS", [{"key": "k3y", "scopes": ["publish"]}])
        yield cluster


async def opened(channel: grpc.aio.Channel, number: int) -> tuple[str, Reading]:
    """A user's stream, and the process that holds it."""
    token = jwt.encode({"sub": f"u{number}", "exp": 2**33}, SECRET)
    metadata = [("authorization", f"Bearer {token}")]
    call = HubStub(channel).Connect(pb.ConnectRequest(), metadata=metadata, wait_for_ready=True)
    reading = Reading(call)
    return json.loads((await reading.next()).data)["node"], reading


async def both_ready(cluster: Cluster) -> None:
    """Each of the two processes has said so; the kernel chooses who answers."""
    seen = set[str]()
    async with asyncio.timeout(20):
        while len(seen) < 2:
            headers = {"Connection": "close"}
            async with cluster.session.get(
                f"{cluster.internal_url}/readyz", headers=headers
            ) as answer:
                if answer.status == 200:  # one that is not ready yet is 503
                    seen.add((await answer.json())["node"])
            await asyncio.sleep(0.02)


async def test_fleet_over_grpc(cluster: Cluster) -> None:
    """Two processes share the ports, each event reaches all, an answer comes whole, and SIGTERM
    tells everyone to come back.
    """
    port, internal_port = free_ports(2)
    cluster.set("PUBLIC__GRPC_PORT", str(port))
    cluster.set("INTERNAL__GRPC_PORT", str(internal_port))
    await cluster.add_upstream("main")
    await cluster.start("--workers", "2")
    await cluster.start_worker()
    await both_ready(cluster)
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own for each
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(CLIENTS)
    ]
    internal = grpc.aio.insecure_channel(f"127.0.0.1:{internal_port}")
    async with asyncio.timeout(30):
        streams = await asyncio.gather(*(opened(c, n) for n, c in enumerate(channels)))
        assert len({node for node, _ in streams}) == 2
        async for health in HealthStub(channels[0]).Watch(HealthCheckRequest()):
            if health.status == health.SERVING:
                break

        key = [("authorization", "Bearer k3y")]
        request = pb.PublishRequest(all=True, event="news", data='"hi"')
        await HubInternalStub(internal).Publish(request, metadata=key, wait_for_ready=True)
        for _, reading in streams:
            said = await reading.next()
            assert (said.event, said.data) == ("news", '"hi"')

        token = jwt.encode({"sub": "asker", "exp": 2**33}, SECRET)
        asked = HubStub(channels[0]).Generate(
            pb.GenerateRequest(prompt="why is the sky blue?"),
            metadata=[("authorization", f"Bearer {token}")],
        )
        events = [event async for batch in asked for event in batch.events]
        text = "".join(json.loads(e.data)["text"] for e in events if e.event == "generation.delta")
        assert len(text) > 50
        assert [e.event for e in events[-2:]] == ["generation.done", "hub.bye"]

        cluster.node.terminate()
        for _, reading in streams:
            assert (await reading.next()).event == "hub.bye"
            assert await reading.call.code() is grpc.StatusCode.UNAVAILABLE
        assert await cluster.node.wait() == 0
    for channel in (*channels, internal):
        await channel.close()
    assert "Traceback" not in cluster.log("serve")
