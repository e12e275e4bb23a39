"""Health and reflection, as load balancers and tools use them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.grpc.kit import Kit, fails

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


async def checked_until(kit: Kit, status: int) -> None:
    """Check the node and the service until both have the status."""
    async with asyncio.timeout(60):
        while await statuses(kit) != {status}:
            await asyncio.sleep(0.02)


async def statuses(kit: Kit) -> set[int]:
    """Return the status of the node and of the service."""
    health = HealthStub(kit.channel)
    requests = [HealthCheckRequest(service=service) for service in ("", "hub.v1.Hub")]
    return {(await health.Check(request)).status for request in requests}


async def test_health(kit: Kit) -> None:
    """The status is NOT_SERVING while the broker is unavailable and while the node drains."""
    assert await statuses(kit) == {SERVING}
    kit.hub.backend.is_unavailable = True
    await checked_until(kit, NOT_SERVING)
    kit.hub.backend.is_unavailable = False
    await checked_until(kit, SERVING)
    kit.hub.node.connections.mark_unready()
    assert await statuses(kit) == {NOT_SERVING}


async def test_broker_is_not_asked_for_each_who_asks(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health checks need no token and do not each ping the broker."""
    pings = 0
    ping = kit.hub.backend.health.check_ready

    async def counted() -> None:
        nonlocal pings
        pings += 1
        await ping()

    monkeypatch.setattr(kit.hub.backend.health, "check_ready", counted)
    health = HealthStub(kit.channel)
    await asyncio.gather(*(health.Check(HealthCheckRequest()) for _ in range(200)))
    assert pings < 100


async def test_watcher_that_never_reads_holds_up_nobody(kit: Kit) -> None:
    """A watcher that never reads does not delay other clients."""
    options = [("grpc.http2.lookahead_bytes", 0), ("grpc.http2.bdp_probe", 0)]
    target = f"127.0.0.1:{kit.hub.grpc_port}"
    async with grpc.aio.insecure_channel(target, options=options) as stalled, asyncio.timeout(60):
        stuck: Any = HealthStub(stalled).Watch(HealthCheckRequest())
        await stuck.wait_for_connection()
        other: Any = HealthStub(kit.channel).Watch(HealthCheckRequest())
        assert (await other.read()).status == SERVING
        kit.hub.node.connections.mark_unready()
        assert (await other.read()).status == NOT_SERVING
        assert await statuses(kit) == {NOT_SERVING}
        stuck.cancel()
        other.cancel()


async def test_health_of_what_is_not_here(kit: Kit) -> None:
    """An unknown service is NOT_FOUND for Check and SERVICE_UNKNOWN for Watch."""
    request = HealthCheckRequest(service="hub.v1.HubInternal")
    call = HealthStub(kit.channel).Check(request)
    assert (await fails(call)).code() is StatusCode.NOT_FOUND
    watch: Any = HealthStub(kit.channel).Watch(request)
    assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_who_watches_is_told(kit: Kit) -> None:
    """A watcher receives each change of the status."""
    call: Any = HealthStub(kit.internal_channel).Watch(HealthCheckRequest())
    assert (await call.read()).status == SERVING
    kit.hub.node.connections.mark_unready()
    async with asyncio.timeout(60):
        assert (await call.read()).status == NOT_SERVING
    call.cancel()


async def test_reflection(kit: Kit) -> None:
    """Each listener describes its own services and their messages."""

    def read_reflection(port: int) -> tuple[set[str], DescriptorPool]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            services = set(database.get_services())
            for service in services:
                pool.FindServiceByName(service)
            return services, pool

    common = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    services, pool = await asyncio.to_thread(read_reflection, kit.hub.grpc_port)
    assert services == {"hub.v1.Hub", *common}
    assert "on_disconnect" in pool.FindMessageTypeByName("hub.v1.GenerateRequest").fields_by_name
    services, _ = await asyncio.to_thread(read_reflection, kit.hub.grpc_internal_port)
    assert services == {"hub.v1.HubInternal", *common}
