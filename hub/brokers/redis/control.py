"""Orders to all nodes over Redis: a pub/sub channel, and a sorted set of what is denied."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from hub.engine.supervise import Supervisor, SystemClock
from hub.redislink import RedisLink
from hub.redislink.ear import Ear, Patience
from hub.redislink.names import CONTROL, DENIED, JOBS_PARTITION, NODES
from hub.redislink.topology import Place

_BEATS_SECONDS: Final = 30


class RedisControlBus:
    """Implements ports.ControlBus. `run` holds the connection on which orders are heard."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._listeners: list[tuple[Callable[[bytes], None], Callable[[], None]]] = []

    def listen(self, heard: Callable[[bytes], None], relinked: Callable[[], None]) -> None:
        self._listeners.append((heard, relinked))

    async def announce(self, order: bytes) -> None:
        command = "SPUBLISH" if self._link.sharded else "PUBLISH"
        await self._link.call(JOBS_PARTITION, command, CONTROL, order)

    async def deny(self, subject: str, until: float) -> None:
        await self._link.call(JOBS_PARTITION, "ZADD", DENIED, "GT", repr(until), subject)
        await self._link.call(JOBS_PARTITION, "ZREMRANGEBYSCORE", DENIED, "-inf", repr(time.time()))
        newest = await self._link.call(JOBS_PARTITION, "ZRANGE", DENIED, "-1", "-1", "WITHSCORES")
        if newest:
            await self._link.call(JOBS_PARTITION, "EXPIREAT", DENIED, int(float(newest[1])) + 1)

    async def denied(self) -> Mapping[str, float]:
        found = await self._link.call(JOBS_PARTITION, "ZRANGE", DENIED, 0, -1, "WITHSCORES")
        return {
            subject.decode(): float(until)
            for subject, until in zip(found[::2], found[1::2], strict=True)
        }

    async def beat(self, node: str, said: bytes) -> None:
        await self._link.call(JOBS_PARTITION, "HSET", NODES, node, said)
        await self._link.call(JOBS_PARTITION, "EXPIRE", NODES, _BEATS_SECONDS)

    async def beats(self) -> Sequence[bytes]:
        found: Sequence[bytes] = await self._link.call(JOBS_PARTITION, "HVALS", NODES)
        return found

    async def forget(self, node: str) -> None:
        """The node has ended."""
        await self._link.call(JOBS_PARTITION, "HDEL", NODES, node)

    async def run(self) -> None:
        """Hears orders until cancelled, wherever their partition moves."""
        await self._link.stay_at(JOBS_PARTITION, self._listening_at)

    @asynccontextmanager
    async def _listening_at(self, place: Place) -> AsyncIterator[None]:
        ear = Ear(
            place,
            self._link.connect,
            Patience(timeout=self._link.timeout_seconds),
            sharded=self._link.sharded,
            heard=self._hear,
            relinked=self._relinked,
            failed=self._link.note_stale,
        )
        ear.want(CONTROL.encode())
        async with Supervisor(SystemClock()) as tasks:
            tasks.start(f"orders from {place}", ear.run)
            yield

    def _hear(self, messages: Sequence[list[bytes]]) -> None:
        for *_, payload in messages:
            for heard, _ in self._listeners:
                heard(payload)

    def _relinked(self) -> None:
        for _, relinked in self._listeners:
            relinked()
