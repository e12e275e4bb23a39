"""Orders to all nodes over Redis: a pub/sub channel, and a sorted set of what is denied."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from hub.backends.redis.client import RedisClient
from hub.backends.redis.client.pubsub import PubSubConnection, PubSubTimeouts
from hub.backends.redis.client.topology import RedisServer
from hub.backends.redis.keys import COMMANDS_CHANNEL, DENYLIST, JOBS_PARTITION, NODE_STATES
from hub.engine.tasks import Supervisor, SystemClock

_NODE_STATE_TTL_SECONDS: Final = 30


class RedisCommandBus:
    """Implements ports.ControlBus. `run` holds the connection on which orders are heard."""

    def __init__(self, link: RedisClient) -> None:
        self._link = link
        self._listeners: list[tuple[Callable[[bytes], None], Callable[[], None]]] = []

    def listen(self, heard: Callable[[bytes], None], relinked: Callable[[], None]) -> None:
        self._listeners.append((heard, relinked))

    async def broadcast(self, message: bytes) -> None:
        command = "SPUBLISH" if self._link.sharded else "PUBLISH"
        await self._link.call(JOBS_PARTITION, command, COMMANDS_CHANNEL, message)

    async def block(self, subject: str, until: float) -> None:
        await self._link.call(JOBS_PARTITION, "ZADD", DENYLIST, "GT", repr(until), subject)
        await self._link.call(
            JOBS_PARTITION, "ZREMRANGEBYSCORE", DENYLIST, "-inf", repr(time.time())
        )
        newest = await self._link.call(JOBS_PARTITION, "ZRANGE", DENYLIST, "-1", "-1", "WITHSCORES")
        if newest:
            await self._link.call(JOBS_PARTITION, "EXPIREAT", DENYLIST, int(float(newest[1])) + 1)

    async def blocked(self) -> Mapping[str, float]:
        found = await self._link.call(JOBS_PARTITION, "ZRANGE", DENYLIST, 0, -1, "WITHSCORES")
        return {
            subject.decode(): float(until)
            for subject, until in zip(found[::2], found[1::2], strict=True)
        }

    async def put_node_state(self, node: str, state: bytes) -> None:
        await self._link.call(JOBS_PARTITION, "HSET", NODE_STATES, node, state)
        await self._link.call(JOBS_PARTITION, "EXPIRE", NODE_STATES, _NODE_STATE_TTL_SECONDS)

    async def node_states(self) -> Sequence[bytes]:
        found: Sequence[bytes] = await self._link.call(JOBS_PARTITION, "HVALS", NODE_STATES)
        return found

    async def remove_node_state(self, node: str) -> None:
        """The node has ended."""
        await self._link.call(JOBS_PARTITION, "HDEL", NODE_STATES, node)

    async def run(self) -> None:
        """Hears orders until cancelled, wherever their partition moves."""
        await self._link.run_on_partition_owner(JOBS_PARTITION, self._listening_at)

    @asynccontextmanager
    async def _listening_at(self, place: RedisServer) -> AsyncIterator[None]:
        ear = PubSubConnection(
            place,
            self._link.connect,
            PubSubTimeouts(reply_timeout_seconds=self._link.timeout_seconds),
            sharded=self._link.sharded,
            on_messages=self._on_messages,
            on_resubscribed=self._on_resubscribed,
            on_failure=self._link.mark_topology_stale,
        )
        ear.subscribe(COMMANDS_CHANNEL.encode())
        async with Supervisor(SystemClock()) as tasks:
            tasks.start(f"orders from {place}", ear.run)
            yield

    def _on_messages(self, messages: Sequence[list[bytes]]) -> None:
        for *_, payload in messages:
            for heard, _ in self._listeners:
                heard(payload)

    def _on_resubscribed(self) -> None:
        for _, relinked in self._listeners:
            relinked()
