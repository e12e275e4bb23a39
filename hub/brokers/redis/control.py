"""Orders to all nodes over Redis: a pub/sub channel, and a sorted set of what is denied."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from hub.engine.supervise import Supervisor, SystemClock
from hub.redislink import RedisLink
from hub.redislink.ear import Ear, Patience
from hub.redislink.names import CONTROL, DENIED, JOBS_PARTITION


class RedisControlBus:
    """Implements ports.ControlBus. `run` holds the connection on which orders are heard."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._heard: Callable[[bytes], None] = lambda said: None
        self._relinked: Callable[[], None] = lambda: None

    def listen(self, heard: Callable[[bytes], None], relinked: Callable[[], None]) -> None:
        self._heard, self._relinked = heard, relinked

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

    async def run(self) -> None:
        """Hears orders until cancelled, wherever their partition moves."""
        moved = asyncio.Event()
        self._link.on_change(moved.set)
        while True:
            place = self._link.place_of(JOBS_PARTITION)
            async with Supervisor(SystemClock()) as tasks:
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
                tasks.start(f"orders from {place}", ear.run)
                while self._link.place_of(JOBS_PARTITION) == place:
                    await moved.wait()
                    moved.clear()

    def _hear(self, messages: Sequence[list[bytes]]) -> None:
        for *_, payload in messages:
            self._heard(payload)
