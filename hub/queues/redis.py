"""The workers' queue in Redis: a stream with a consumer group.

An entry names a generation; it is in the group's pending list while a worker holds it. The idle
time of a pending entry is the lease: renewing sets it to zero, and an entry that has been idle for
longer than the lease is anybody's again (XAUTOCLAIM).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import ResponseError

from hub.engine.supervise import Supervisor, SystemClock
from hub.errors import BrokerUnavailable
from hub.ports import Lease
from hub.redislink import RedisLink
from hub.redislink.ear import Ear, Patience
from hub.redislink.names import JOBS, JOBS_GROUP, JOBS_PARTITION, STOPS
from hub.redislink.pipe import Pipe
from hub.redislink.wire import Word

_FIELD: Final = "generation"
_MOST_WAIT_SECONDS: Final = 5.0
_MOST_STOPS_WAITING: Final = 10_000


class RedisGenerationQueue:
    """Implements ports.GenerationQueue. A worker keeps `run` going: it holds the connections on
    which jobs are waited for and stops are heard; a node, which only puts, does without.
    """

    def __init__(self, link: RedisLink, *, lease_seconds: float) -> None:
        self._link = link
        self._lease_ms = round(lease_seconds * 1000)
        self._name = f"w{secrets.token_hex(6)}"
        self._intake: Pipe | None = None
        self._running = asyncio.Event()
        self._listeners: set[asyncio.Queue[str]] = set()

    async def run(self) -> None:
        """Holds the connections until cancelled, wherever the jobs' partition moves."""
        moved = asyncio.Event()
        self._link.on_change(moved.set)
        while True:
            place = self._link.place_of(JOBS_PARTITION)
            async with Supervisor(SystemClock()) as tasks:
                self._intake = Pipe(
                    place,
                    self._link.connect,
                    timeout_seconds=self._link.timeout_seconds + _MOST_WAIT_SECONDS,
                    failed=self._link.note_stale,
                )
                ear = Ear(
                    place,
                    self._link.connect,
                    Patience(timeout=self._link.timeout_seconds),
                    sharded=self._link.sharded,
                    heard=self._hear_stops,
                    failed=self._link.note_stale,
                )
                ear.want(STOPS.encode())
                tasks.start(f"job intake from {place}", self._intake.run)
                tasks.start(f"stops from {place}", ear.run)
                self._running.set()
                while self._link.place_of(JOBS_PARTITION) == place:
                    await moved.wait()
                    moved.clear()

    async def put(self, generation: str) -> None:
        await self._link.call(JOBS_PARTITION, "XADD", JOBS, "*", _FIELD, generation)

    async def take(self, wait_seconds: float) -> Lease | None:
        claim = ("XAUTOCLAIM", JOBS, JOBS_GROUP, self._name, self._lease_ms, "0", "COUNT", 1)
        _, abandoned, *_ = await self._ask(*claim)
        if lease := _lease(abandoned):
            return lease
        block_ms = max(1, round(min(wait_seconds, _MOST_WAIT_SECONDS) * 1000))
        group = ("GROUP", JOBS_GROUP, self._name)
        read = ("XREADGROUP", *group, "COUNT", 1, "BLOCK", block_ms, "STREAMS", JOBS, ">")
        streams = await self._ask(*read)
        return _lease(streams[0][1]) if streams else None

    async def renew(self, lease: Lease) -> None:
        claim = ("XCLAIM", JOBS, JOBS_GROUP, self._name, 0, lease.token, "JUSTID")
        await self._link.call(JOBS_PARTITION, *claim)

    async def settle(self, lease: Lease) -> None:
        # Deleted first: what is claimed after that has no fields, and is nobody's job.
        await self._link.call(JOBS_PARTITION, "XDEL", JOBS, lease.token)
        await self._link.call(JOBS_PARTITION, "XACK", JOBS, JOBS_GROUP, lease.token)

    async def release(self, lease: Lease) -> None:
        await self.put(lease.generation)
        await self.settle(lease)

    async def announce_stop(self, generation: str) -> None:
        announce = "SPUBLISH" if self._link.sharded else "PUBLISH"
        await self._link.call(JOBS_PARTITION, announce, STOPS, generation)

    async def stops(self) -> AsyncIterator[str]:
        """Notices may be lost while the link is down: the wish itself is in the record."""
        listener: asyncio.Queue[str] = asyncio.Queue(_MOST_STOPS_WAITING)
        self._listeners.add(listener)
        try:
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)

    def _hear_stops(self, messages: Sequence[list[bytes]]) -> None:
        for *_, payload in messages:
            for listener in self._listeners:
                with suppress(asyncio.QueueFull):
                    listener.put_nowait(payload.decode())

    async def _ask(self, *words: Word) -> Any:
        """A command of the intake. The group goes with the data of a Redis that came back empty."""
        await self._running.wait()
        assert self._intake is not None
        reply = await self._intake.call(*words)
        if isinstance(reply, ResponseError) and str(reply).startswith("NOGROUP"):
            # An error now is BUSYGROUP: another worker has made it.
            await self._intake.call("XGROUP", "CREATE", JOBS, JOBS_GROUP, "0", "MKSTREAM")
            reply = await self._intake.call(*words)
        if isinstance(reply, Exception):
            self._link.note_stale()
            raise BrokerUnavailable(f"the broker refuses: {reply}") from reply
        return reply


def _lease(entries: list[Any]) -> Lease | None:
    for token, fields in entries:
        if fields:  # a deleted entry may still be claimed, without fields
            return Lease(fields[1].decode(), token.decode())
    return None
