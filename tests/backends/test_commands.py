"""What every bus for orders must do: one suite over memory, Valkey and Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.backends.redis.commands import RedisCommandBus
from hub.backends.redis.keys import DENYLIST
from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.commands import CommandBus
from hub.testing.stores import MemoryCommandBus


class Kit:
    """Two nodes' ends of one bus."""

    def __init__(self, first: CommandBus, second: CommandBus, server: Any = None) -> None:
        self.first, self.second, self.server = first, second, server


@pytest.fixture(params=["memory", "valkey", "redis"])
async def kit(request: pytest.FixtureRequest, open_redis: Any) -> AsyncIterator[Kit]:
    """The bus in memory, or over each server."""
    if request.param == "memory":
        memory = MemoryCommandBus()
        yield Kit(memory, memory)
        return
    server = await open_redis(request.param)
    buses = [RedisCommandBus(server.link) for _ in range(2)]
    async with Supervisor(SystemClock()) as tasks:
        for n, bus in enumerate(buses):
            tasks.start(f"bus {n}", bus.run)
        yield Kit(buses[0], buses[1], server.client)


async def test_orders_reach_every_node(kit: Kit) -> None:
    """The one that gave it, too."""
    heard: list[tuple[str, bytes]] = []
    linked = asyncio.Event()
    kit.first.listen(lambda said: heard.append(("first", said)), linked.set)
    kit.second.listen(lambda said: heard.append(("second", said)), linked.set)
    async with asyncio.timeout(30):
        while {who for who, _ in heard} != {"first", "second"}:
            await kit.first.broadcast(b"x")
            await asyncio.sleep(0.01)
    assert {said for _, said in heard} == {b"x"}


async def test_what_is_denied_lasts(kit: Kit) -> None:
    """Until the later of two times; what is over goes."""
    now = time.time()
    await kit.first.block("user a", now + 100)
    await kit.first.block("user a", now + 50)
    await kit.first.block("token b c", now + 10)
    assert await kit.second.blocked() == pytest.approx({"user a": now + 100, "token b c": now + 10})
    if kit.server is not None:
        assert 90 < await kit.server.ttl(DENYLIST) < 110
        await kit.server.zadd(DENYLIST, {"user old": now - 1})
        await kit.first.block("user d", now + 5)
        assert "user old" not in await kit.second.blocked()
