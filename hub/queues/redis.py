"""The workers' queue in Redis: a stream with a consumer group.

An entry names a generation; it is in the group's pending list while a worker holds it. The idle
time of a pending entry is the lease: renewing sets it to zero, and an entry that has been idle for
longer than the lease is anybody's again (XAUTOCLAIM).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, Final

import redis.asyncio
import structlog
from redis.exceptions import RedisError, ResponseError

from hub.ports import Lease
from hub.redislink import JOBS, JOBS_GROUP, STOPS, RedisLink

_FIELD: Final = b"generation"
_PAUSE_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class RedisGenerationQueue:
    """Implements ports.GenerationQueue."""

    def __init__(self, link: RedisLink, *, lease_seconds: float) -> None:
        self._link = link
        self._lease_ms = round(lease_seconds * 1000)
        self._name = f"w{secrets.token_hex(6)}"

    async def put(self, generation: str) -> None:
        async with self._link.call() as client:
            await client.xadd(JOBS, {_FIELD: generation})

    async def take(self, wait_seconds: float) -> Lease | None:
        async with self._link.call(more_seconds=wait_seconds) as client:
            try:
                return await self._take_new_or_abandoned(client, wait_seconds)
            except ResponseError as error:
                # The group goes with the data of a Redis that came back empty.
                if "NOGROUP" not in str(error):
                    raise
            with suppress(ResponseError):  # BUSYGROUP: another worker made it
                await client.xgroup_create(JOBS, JOBS_GROUP, id="0", mkstream=True)
            return await self._take_new_or_abandoned(client, wait_seconds)

    async def renew(self, lease: Lease) -> None:
        async with self._link.call() as client:
            await client.xclaim(
                JOBS,
                JOBS_GROUP,
                self._name,
                min_idle_time=0,
                message_ids=[lease.token],
                justid=True,
            )

    async def settle(self, lease: Lease) -> None:
        async with self._link.call() as client, client.pipeline(transaction=True) as pipe:
            pipe.xack(JOBS, JOBS_GROUP, lease.token)
            pipe.xdel(JOBS, lease.token)
            await pipe.execute()

    async def release(self, lease: Lease) -> None:
        async with self._link.call() as client, client.pipeline(transaction=True) as pipe:
            pipe.xadd(JOBS, {_FIELD: lease.generation})
            pipe.xack(JOBS, JOBS_GROUP, lease.token)
            pipe.xdel(JOBS, lease.token)
            await pipe.execute()

    async def announce_stop(self, generation: str) -> None:
        async with self._link.call() as client:
            await client.publish(STOPS, generation)

    async def stops(self) -> AsyncIterator[str]:
        """Notices may be lost while the link is down: the wish itself is in the record."""
        while True:
            try:
                async with aclosing(self._link.client.pubsub()) as listener:
                    await listener.subscribe(STOPS)
                    while True:
                        message = await listener.get_message(
                            ignore_subscribe_messages=True, timeout=_PAUSE_SECONDS
                        )
                        if message is not None:
                            yield message["data"].decode()
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("queue.stops_link_lost", error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _take_new_or_abandoned(
        self, client: redis.asyncio.Redis, wait_seconds: float
    ) -> Lease | None:
        _, abandoned, *_ = await client.xautoclaim(
            JOBS, JOBS_GROUP, self._name, min_idle_time=self._lease_ms, count=1
        )
        if lease := _lease(abandoned):
            return lease
        streams: Any = await client.xreadgroup(
            JOBS_GROUP, self._name, {JOBS: ">"}, count=1, block=max(1, round(wait_seconds * 1000))
        )
        return _lease(streams[0][1]) if streams else None


def _lease(entries: list[Any]) -> Lease | None:
    for token, fields in entries:
        if fields:  # a deleted entry is still claimed, without fields
            return Lease(fields[_FIELD].decode(), token.decode())
    return None
