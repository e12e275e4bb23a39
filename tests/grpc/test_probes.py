"""Health and reflection, as load balancers and tools ask for them."""

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


@pytest.mark.parametrize("service", ["", "hub.v1.Hub"])
async def test_health(kit: Kit, service: str) -> None:
    """Not serving while the broker is away, and while it drains."""
    health, request = HealthStub(kit.channel), HealthCheckRequest(service=service)
    assert (await health.Check(request)).status == SERVING
    kit.hub.broker.away = True
    assert (await health.Check(request)).status == NOT_SERVING
    kit.hub.broker.away = False
    assert (await health.Check(request)).status == SERVING
    kit.hub.fanout.retire()
    assert (await health.Check(request)).status == NOT_SERVING


async def test_health_of_what_is_not_here(kit: Kit) -> None:
    """NOT_FOUND, as the protocol has it."""
    call = HealthStub(kit.channel).Check(HealthCheckRequest(service="hub.v1.HubInternal"))
    assert (await fails(call)).code() is StatusCode.NOT_FOUND


async def test_who_watches_is_told(kit: Kit) -> None:
    """Without asking again."""
    call: Any = HealthStub(kit.internal_channel).Watch(HealthCheckRequest())
    assert (await call.read()).status == SERVING
    kit.hub.fanout.retire()
    async with asyncio.timeout(5):
        assert (await call.read()).status == NOT_SERVING
    call.cancel()


async def test_reflection(kit: Kit) -> None:
    """Each listener tells its own services, and the messages' fields."""

    def look(port: int) -> tuple[set[str], DescriptorPool]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            services = set(database.get_services())
            for service in services:
                pool.FindServiceByName(service)
            return services, pool

    common = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    services, pool = await asyncio.to_thread(look, kit.hub.grpc_port)
    assert services == {"hub.v1.Hub", *common}
    assert "on_disconnect" in pool.FindMessageTypeByName("hub.v1.GenerateRequest").fields_by_name
    services, _ = await asyncio.to_thread(look, kit.hub.grpc_internal_port)
    assert services == {"hub.v1.HubInternal", *common}
