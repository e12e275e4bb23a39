"""Test gRPC with `hub serve --workers 2`, a worker, an answer and SIGTERM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

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
    """Yield a cluster that requires tokens and keys and is not started yet."""
    async with create_cluster() as cluster:
        cluster.set("AUTH__DISABLED", "false")
        cluster.set("AUTH__HMAC_SECRET", SECRET)
        cluster.set("AUTH__API_KEYS", [{"key": "k3y", "scopes": ["publish", "produce"]}])
        yield cluster


async def open_stream(channel: grpc.aio.Channel, number: int) -> tuple[str, Reading]:
    """Open the stream of a user; return the name of its node and the stream."""
    token = jwt.encode({"sub": f"u{number}", "exp": 2**33}, SECRET)
    metadata = [("authorization", f"Bearer {token}")]
    call = HubStub(channel).Connect(pb.ConnectRequest(), metadata=metadata, wait_for_ready=True)
    reading = Reading(call)
    return json.loads((await reading.next()).data)["node"], reading


async def read_acknowledgements(call: Any) -> list[int]:
    """Return those of a call until it ends, however it ends."""
    read: list[int] = []
    with suppress(grpc.aio.AioRpcError):
        while (response := await call.read()) is not grpc.aio.EOF:
            read.append(response.ack)
    return read


async def wait_for_both(cluster: Cluster) -> None:
    """Wait until both processes are ready. The kernel chooses the process that answers."""
    seen = set[str]()
    async with asyncio.timeout(60):
        while len(seen) < 2:
            headers = {"Connection": "close"}
            async with cluster.session.get(
                f"{cluster.internal_url}/readyz", headers=headers
            ) as reply:
                if reply.status == 200:  # 503: not ready yet
                    seen.add((await reply.json())["node"])
            await asyncio.sleep(0.02)


async def test_two_processes_over_grpc(cluster: Cluster) -> None:
    """Two processes share the ports, deliver events and an answer, and end on SIGTERM.

    On SIGTERM, each stream receives hub.bye and ends with UNAVAILABLE, so that clients reconnect.
    So does the call of an external producer, after the acknowledgement of all that it has posted.
    """
    port, internal_port = free_ports(2)
    cluster.set("PUBLIC__GRPC_PORT", str(port))
    cluster.set("INTERNAL__GRPC_PORT", str(internal_port))
    await cluster.add_upstream("main")
    await cluster.start("--workers", "2")
    await cluster.start_worker()
    await wait_for_both(cluster)
    options = [("grpc.use_local_subchannel_pool", 1)]  # one TCP connection per channel
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(CLIENTS)
    ]
    internal = grpc.aio.insecure_channel(f"127.0.0.1:{internal_port}")
    async with asyncio.timeout(120):
        streams = await asyncio.gather(*(open_stream(c, n) for n, c in enumerate(channels)))
        assert len({node for node, _ in streams}) == 2
        async for health in HealthStub(channels[0]).Watch(HealthCheckRequest()):
            if health.status == health.SERVING:
                break

        key = [("authorization", "Bearer k3y")]
        request = pb.PublishRequest(all=True, event="news", data='"hi"')
        await HubInternalStub(internal).Publish(request, metadata=key, wait_for_ready=True)
        for _, reading in streams:
            event = await reading.next()
            assert (event.event, event.data) == ("news", '"hi"')

        token = jwt.encode({"sub": "gina", "exp": 2**33}, SECRET)
        generation = HubStub(channels[0]).Generate(
            pb.GenerateRequest(prompt="why is the sky blue?"),
            metadata=[("authorization", f"Bearer {token}")],
        )
        events = [event async for batch in generation for event in batch.events]
        text = "".join(json.loads(e.data)["text"] for e in events if e.event == "generation.delta")
        assert len(text) > 50
        assert [e.event for e in events[-2:]] == ["generation.done", "hub.bye"]

        hub = HubInternalStub(internal)
        started = await hub.StartExternal(pb.StartExternalRequest(user="gina"), metadata=key)
        producing = hub.PostParts(metadata=key)
        attempt = {"generation": started.generation, "lease": started.lease}
        await producing.write(pb.PostPartsRequest(**attempt))
        assert (await producing.read()).ack == -1
        await producing.write(pb.PostPartsRequest(parts=['{"seq":0,"type":"text","text":"hi"}']))
        assert (await producing.read()).ack == 0

        cluster.node.terminate()
        assert set(await read_acknowledgements(producing)) == {0}
        assert await producing.code() is grpc.StatusCode.UNAVAILABLE
        for _, reading in streams:
            assert (await reading.next()).event == "hub.bye"
            assert await reading.call.code() is grpc.StatusCode.UNAVAILABLE
        assert await cluster.node.wait() == 0
    for channel in (*channels, internal):
        await channel.close()
    assert "Traceback" not in cluster.log("serve")
