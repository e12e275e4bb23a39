"""The workers' queues in Redis: jobs that wait for room, and a stream of due ones for each queue.

An entry of a stream names a generation; it is in the group's pending list while a worker holds it.
The idle time of a pending entry is the lease: renewing sets it to zero, and an entry that has been
idle for longer than the lease is anybody's again. The scripts (lua/*.lua) carry the
invariants; the rules are those of core/fair_queue.py.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from redis.exceptions import ResponseError

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.client.pipeline import CommandPipeline
from hub.backends.redis.client.pubsub import PubSubConnection, PubSubTimeouts
from hub.backends.redis.client.topology import RedisServer
from hub.backends.redis.keys import (
    JOBS_COUNTS,
    JOBS_GROUP,
    JOBS_PARTITION,
    JOBS_WAITING,
    STOPS_CHANNEL,
    jobs_stream,
)
from hub.core.fair_queue import Admission, Job, QueueLimits
from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import BrokerUnavailable
from hub.ports.queue import JobPage, Lease

_PACKAGE: Final = "hub.backends.redis"
_PUT: Final = Script(_PACKAGE, "fair_queue", "enqueue_job")
_WITHDRAW: Final = Script(_PACKAGE, "fair_queue", "withdraw_job")
_SETTLE: Final = Script(_PACKAGE, "fair_queue", "finish_job")
_RENEW: Final = Script(_PACKAGE, "renew_leases")
_MAX_WAIT_SECONDS: Final = 5.0
_MAX_PENDING_STOPS: Final = 10_000


class RedisGenerationQueue:
    """Implements ports.GenerationQueue. A worker keeps `run` going: it holds the connections on
    which jobs are waited for and stops are heard; a node, which only puts, does without.

    queues: those that this end takes from.
    """

    def __init__(
        self,
        client: RedisClient,
        caps: QueueLimits,
        *,
        lease_seconds: float,
        queues: Sequence[str],
    ) -> None:
        self._client = client
        self._caps = caps
        self._lease_ms = round(lease_seconds * 1000)
        self._streams = [jobs_stream(queue) for queue in queues]
        self._name = f"w{secrets.token_hex(6)}"
        self._intake: CommandPipeline | None = None
        self._running = asyncio.Event()
        self._listeners: set[asyncio.Queue[str]] = set()

    async def run(self) -> None:
        """Holds the connections until cancelled, wherever the jobs' partition moves."""
        await self._client.run_on_partition_owner(JOBS_PARTITION, self._taking_from)

    @asynccontextmanager
    async def _taking_from(self, place: RedisServer) -> AsyncIterator[None]:
        self._intake = CommandPipeline(
            place,
            self._client.connect,
            timeout_seconds=self._client.timeout_seconds + _MAX_WAIT_SECONDS,
            on_failure=self._client.mark_topology_stale,
        )
        ear = PubSubConnection(
            place,
            self._client.connect,
            PubSubTimeouts(reply_timeout_seconds=self._client.timeout_seconds),
            sharded=self._client.sharded,
            on_messages=self._on_stop_messages,
            on_failure=self._client.mark_topology_stale,
        )
        ear.subscribe(STOPS_CHANNEL.encode())
        async with Supervisor(SystemClock()) as tasks:
            tasks.start(f"job intake from {place}", self._intake.run)
            tasks.start(f"stops from {place}", ear.run)
            self._running.set()
            yield

    async def enqueue(self, job: Job) -> Admission:
        caps = self._caps.for_upstream(job.upstream)
        reply = await self._script(
            _PUT,
            (),
            *_words(job),
            self._caps.max_user_running,
            self._caps.max_user_queued,
            "" if caps.max_running is None else caps.max_running,
            "" if caps.max_queued is None else caps.max_queued,
        )
        return Admission(reply.decode())

    async def withdraw(self, job: Job) -> None:
        await self._script(_WITHDRAW, (), *_words(job))

    async def reserve(self, wait_seconds: float) -> Lease | None:
        group = (JOBS_GROUP, self._name)
        for stream in self._streams:
            # Not XAUTOCLAIM: it looks at ten entries for each that it is to find.
            oldest = ("XPENDING", stream, JOBS_GROUP, "IDLE", self._lease_ms, "-", "+", 1)
            for token, _, _, deliveries in await self._ask(*oldest):
                claim = ("XCLAIM", stream, *group, self._lease_ms, token)
                for _, fields in await self._ask(*claim):
                    if fields:  # a deleted entry may still be claimed, without fields
                        return _lease(stream, token, fields, deliveries + 1)
        block_ms = max(1, round(min(wait_seconds, _MAX_WAIT_SECONDS) * 1000))
        read = ("XREADGROUP", "GROUP", *group, "COUNT", 1, "BLOCK", block_ms, "STREAMS")
        found = await self._ask(*read, *self._streams, *[">"] * len(self._streams))
        leases = [
            _lease(name.decode(), token, fields, 1)
            for name, entries in found or ()
            for token, fields in entries
        ]
        for another in leases[1:]:  # the count is for each stream
            await self.release(another)
        return leases[0] if leases else None

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        lost: list[Lease] = []
        for stream in self._streams:
            held = [lease for lease in leases if lease.stream == stream]
            if held:
                tokens = [lease.token for lease in held]
                words = (JOBS_GROUP, self._name, *tokens)
                call = ScriptCall(_RENEW, JOBS_PARTITION, (stream,), words)
                (kept,) = await self._client.run([call])
                lost += [lease for lease, still in zip(held, kept, strict=True) if not still]
        return lost

    async def complete(self, lease: Lease) -> None:
        await self._finish(lease, "over")

    async def release(self, lease: Lease) -> None:
        await self._finish(lease, "again")

    async def _finish(self, lease: Lease, how: str) -> None:
        await self._script(_SETTLE, (lease.stream,), JOBS_GROUP, self._name, lease.token, how)

    async def _script(self, script: Script, keys: Sequence[str], *args: Argument) -> Any:
        names = (JOBS_WAITING, JOBS_COUNTS, *keys)
        (reply,) = await self._client.run([ScriptCall(script, JOBS_PARTITION, names, args)])
        return reply

    async def list_jobs(self, limit: int) -> JobPage:
        call = partial(self._client.call, JOBS_PARTITION)
        found: list[str] = []
        total = await call("ZCARD", JOBS_WAITING)
        for stream in self._streams:
            total += await call("XLEN", stream)
            for _, fields in await call("XRANGE", stream, "-", "+", "COUNT", limit):
                found.append(_lease(stream, b"", fields, 0).generation)
        waiting = await call("ZRANGE", JOBS_WAITING, 0, max(0, limit - len(found)))
        found += [member.decode().rpartition(" ")[2] for member in waiting]
        return JobPage(found[:limit], total)

    async def broadcast_stop(self, generation: str) -> None:
        announce = "SPUBLISH" if self._client.sharded else "PUBLISH"
        await self._client.call(JOBS_PARTITION, announce, STOPS_CHANNEL, generation)

    async def stops(self) -> AsyncIterator[str]:
        """Notices may be lost while the link is down: the wish itself is in the record."""
        listener: asyncio.Queue[str] = asyncio.Queue(_MAX_PENDING_STOPS)
        self._listeners.add(listener)
        try:
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)

    def _on_stop_messages(self, messages: Sequence[list[bytes]]) -> None:
        for *_, payload in messages:
            for listener in self._listeners:
                with suppress(asyncio.QueueFull):
                    listener.put_nowait(payload.decode())

    async def _ask(self, *words: Argument) -> Any:
        """A command of the intake. The group goes with the data of a Redis that came back empty."""
        await self._running.wait()
        assert self._intake is not None
        reply = await self._intake.call(*words)
        if isinstance(reply, ResponseError) and str(reply).startswith("NOGROUP"):
            for stream in self._streams:
                # An error now is BUSYGROUP: another worker has made it.
                await self._intake.call("XGROUP", "CREATE", stream, JOBS_GROUP, "0", "MKSTREAM")
            reply = await self._intake.call(*words)
        if isinstance(reply, Exception):
            self._client.mark_topology_stale()
            raise BrokerUnavailable(f"the broker refuses: {reply}") from reply
        return reply


def _words(job: Job) -> tuple[str, str, str, str]:
    return job.queue, job.upstream, job.user, job.generation


def _lease(stream: str, token: bytes, fields: Sequence[bytes], deliveries: int) -> Lease:
    return Lease(fields[1].decode(), token.decode(), stream, deliveries)
