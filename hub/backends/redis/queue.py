"""The job queues in Redis: the waiting jobs, and one stream of due jobs for each queue.

An entry of a stream names a generation. While a worker holds it, it is in the pending list of the
consumer group, and its idle time is the age of the lease: a renewal sets it to zero, and any worker
may claim an entry that has been idle for longer than a lease. The scripts (lua/enqueue_job.lua and
others) hold the invariants; the rules are those of core/fair_queue.py.

A server that did not answer for some time (it moved large keys, was replaced or was stopped) has
got no renewals meanwhile. A worker that notices it claims nothing for a quarter of a lease, so that
those who hold entries renew them first.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
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
    JOBS_VERSIONS,
    JOBS_WAITING,
    STOPS_CHANNEL,
    jobs_stream,
    parse_jobs_stream,
)
from hub.core.fair_queue import Admission, Job, QueueLimits, versioned_queue
from hub.engine.tasks import BackgroundTasks, Supervisor, SystemClock
from hub.errors import BrokerUnavailable
from hub.ports.queue import JobPage, JobState, Lease, QueueBacklog, WaitingVersion

_PACKAGE: Final = "hub.backends.redis"
_ENQUEUE: Final = Script(
    _PACKAGE, "fair_queue", "enqueue_job", needs_memory=False, is_repeatable=True
)
_WITHDRAW: Final = Script(
    _PACKAGE, "fair_queue", "withdraw_job", needs_memory=False, is_repeatable=True
)
_FINISH: Final = Script(
    _PACKAGE, "fair_queue", "finish_job", needs_memory=False, is_repeatable=True
)
_RENEW: Final = Script(_PACKAGE, "renew_leases", needs_memory=False, is_repeatable=True)
_STATES: Final = Script(_PACKAGE, "fair_queue", "job_states", needs_memory=False)
_MAX_WAIT_SECONDS: Final = 5.0
_MAX_IDLE_MS: Final = 30_000  # of a worker that runs: it reads its queues every few seconds
_MAX_PENDING_STOPS: Final = 10_000


class RedisGenerationQueue:
    """Implements ports.queue.GenerationQueue.

    lease_seconds: how long a reserved job belongs to its worker without a renewal.
    queues: the queues that this process reserves from and lists.
    """

    def __init__(
        self,
        client: RedisClient,
        limits: QueueLimits,
        *,
        lease_seconds: float,
        queues: Sequence[str],
    ) -> None:
        self._client = client
        self._limits = limits
        self._lease_ms = round(lease_seconds * 1000)
        self._grace_seconds = lease_seconds / 4
        self._claims_from = 0.0  # until this time of the loop, nothing is claimed
        self._streams = [jobs_stream(queue) for queue in queues]
        self._stream_names = [client.name(stream) for stream in self._streams]
        self._consumer = f"w{secrets.token_hex(6)}"  # the name in the consumer group
        self._pipeline: CommandPipeline | None = None  # for commands that may block
        self._running = asyncio.Event()
        self._stop_listeners: set[asyncio.Queue[str]] = set()
        self._background_tasks = BackgroundTasks()

    async def run(self) -> None:
        """See ports.queue.GenerationQueue.run. The connections follow the partition of the jobs."""
        await self._client.run_on_partition_owner(JOBS_PARTITION, self._connect_to)

    @asynccontextmanager
    async def _connect_to(self, server: RedisServer) -> AsyncIterator[None]:
        self._pipeline = CommandPipeline(
            server,
            self._client.connect,
            timeout_seconds=self._client.timeout_seconds + _MAX_WAIT_SECONDS,
            on_failure=self._client.mark_topology_stale,
        )
        stop_requests = PubSubConnection(
            server,
            self._client.connect,
            PubSubTimeouts(reply_timeout_seconds=self._client.timeout_seconds),
            sharded=self._client.sharded,
            on_messages=self._on_stop_messages,
            on_failure=self._client.mark_topology_stale,
        )
        stop_requests.subscribe(self._client.name(STOPS_CHANNEL).encode())
        async with Supervisor(SystemClock()) as tasks:
            tasks.start(f"jobs from {server}", self._pipeline.run)
            tasks.start(f"stop requests from {server}", stop_requests.run)
            self._running.set()
            yield

    async def enqueue(self, job: Job) -> Admission:
        return await self._enqueue(job, limited=True)

    async def requeue(self, job: Job) -> None:
        await self._enqueue(job, limited=False)

    async def _enqueue(self, job: Job, *, limited: bool) -> Admission:
        limits = self._limits.for_upstream(job.upstream)
        max_queued = limits.max_queued if limited else None
        reply = await self._script(
            _ENQUEUE,
            (),
            *_arguments(job),
            self._limits.max_user_running,
            self._limits.max_user_queued if limited else "",
            "" if limits.max_running is None else limits.max_running,
            "" if max_queued is None else max_queued,
            job.topic or "",
        )
        return Admission(reply.decode())

    async def withdraw(self, job: Job, *, is_taken: bool = False) -> None:
        lease_ms = 0 if is_taken else self._lease_ms
        await self._script(_WITHDRAW, (), *_arguments(job), JOBS_GROUP, lease_ms, job.topic or "")

    async def job_states(self, generations: Sequence[str]) -> list[JobState | None]:
        return [
            _parse_state(state)
            for state in await self._script(_STATES, (), JOBS_GROUP, self._lease_ms, *generations)
        ]

    async def reserve(self, wait_seconds: float) -> Lease | None:
        """See ports.queue.GenerationQueue.reserve.

        The server may give a job to a call that is cancelled, because it has the command already.
        The job is then released.
        """
        reserving = self._reserve(wait_seconds)
        return await self._background_tasks.finish("reserve", reserving, self._on_abandoned)

    def _on_abandoned(self, lease: Lease | None) -> None:
        if lease is not None:
            self._background_tasks.run("release", self.release(lease))

    async def _reserve(self, wait_seconds: float) -> Lease | None:
        group = (JOBS_GROUP, self._consumer)
        for stream, name in zip(self._streams, self._stream_names, strict=True):
            # XAUTOCLAIM would examine only ten entries for each one that it is to return.
            oldest = ("XPENDING", name, JOBS_GROUP, "IDLE", self._lease_ms, "-", "+", 1)
            for token, _, _, deliveries in await self._blocking_call(*oldest):
                if asyncio.get_running_loop().time() < self._claims_from:
                    break
                claim = ("XCLAIM", name, *group, self._lease_ms, token)
                for _, fields in await self._blocking_call(*claim):
                    if fields:  # a deleted entry can still be claimed; it has no fields
                        return _parse_lease(stream, token, fields, deliveries + 1)
        block_ms = max(1, round(min(wait_seconds, _MAX_WAIT_SECONDS) * 1000))
        read = ("XREADGROUP", "GROUP", *group, "COUNT", 1, "BLOCK", block_ms, "STREAMS")
        names = (*self._stream_names, *[">"] * len(self._streams))
        reply = await self._blocking_call(*read, *names, block_seconds=block_ms / 1000)
        leases = [
            _parse_lease(self._streams[self._stream_names.index(name.decode())], token, fields, 1)
            for name, entries in reply or ()
            for token, fields in entries
        ]
        for another in leases[1:]:  # COUNT counts for each stream
            await self.release(another)
        return leases[0] if leases else None

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        lost: list[Lease] = []
        for stream in self._streams:
            held = [lease for lease in leases if lease.stream == stream]
            if held:
                tokens = [lease.token for lease in held]
                arguments = (JOBS_GROUP, self._consumer, *tokens)
                call = ScriptCall(_RENEW, JOBS_PARTITION, (stream,), arguments)
                (renewed,) = await self._client.run([call])
                lost += [lease for lease, ok in zip(held, renewed, strict=True) if not ok]
        return lost

    async def complete(self, lease: Lease) -> None:
        await self._finish(lease, "complete", lease.stream)

    async def release(self, lease: Lease, *, version: str | None = None) -> None:
        stream = lease.stream
        if version is not None:
            queue = parse_jobs_stream(stream).partition("@")[0]
            stream = jobs_stream(versioned_queue(queue, version))
        await self._finish(lease, "release", stream)

    async def _finish(self, lease: Lease, action: str, released_to: str) -> None:
        streams = (lease.stream, released_to)
        await self._script(_FINISH, streams, JOBS_GROUP, self._consumer, lease.token, action)

    async def waiting_versions(self) -> list[WaitingVersion]:
        return await list_waiting_versions(self._client)

    async def _script(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        names = (JOBS_WAITING, JOBS_COUNTS, *keys)
        (reply,) = await self._client.run([ScriptCall(script, JOBS_PARTITION, names, arguments)])
        return reply

    async def list_jobs(self, limit: int) -> JobPage:
        call = partial(self._client.call_key, JOBS_PARTITION)
        generations: list[str] = []
        total = await call("ZCARD", JOBS_WAITING)
        for stream in await self._all_streams():
            total += await call("XLEN", stream)
            for _, fields in await call("XRANGE", stream, "-", "+", "COUNT", limit):
                generations.append(_parse_lease(stream, b"", fields, 0).generation)
        waiting = await call("ZRANGE", JOBS_WAITING, 0, max(0, limit - len(generations)))
        generations += [_parse_member(member) for member in waiting]
        return JobPage(generations[:limit], total)

    async def backlog(self) -> QueueBacklog:
        """See ports.queue.GenerationQueue.backlog.

        Workers reserve the entries of a stream in their order, and delete those that are complete:
        what comes after the newest reserved entry is not reserved.
        """
        call = partial(self._client.call_key, JOBS_PARTITION)
        count = await call("ZCARD", JOBS_WAITING)
        first = [_parse_member(each) for each in await call("ZRANGE", JOBS_WAITING, 0, 0)]
        for stream in await self._all_streams():
            reserved, newest = await self._reserved(stream)
            count += await call("XLEN", stream) - reserved
            start = f"({newest}" if reserved else "-"
            for _, fields in await call("XRANGE", stream, start, "+", "COUNT", 1):
                first.append(_parse_lease(stream, b"", fields, 0).generation)
        return QueueBacklog(max(count, len(first)), first)

    async def _reserved(self, stream: str) -> tuple[int, str]:
        """Return how many entries of a stream workers hold, and the id of the newest of them."""
        try:
            summary = await self._client.call_key(JOBS_PARTITION, "XPENDING", stream, JOBS_GROUP)
        except BrokerUnavailable as error:
            if "NOGROUP" in str(error):  # no worker has read this stream yet
                return 0, ""
            raise
        return summary[0], (summary[2] or b"").decode()

    async def _all_streams(self) -> list[str]:
        """Return the streams of the queues that this process uses, and of their versions."""
        versioned = [
            jobs_stream(versioned_queue(each.queue, each.version))
            for each in await _list_versions(self._client)
        ]
        return [*dict.fromkeys([*self._streams, *versioned])]

    async def broadcast_notice(self, generation: str) -> None:
        command = "SPUBLISH" if self._client.sharded else "PUBLISH"
        await self._client.call_key(JOBS_PARTITION, command, STOPS_CHANNEL, generation)

    async def notices(self) -> AsyncIterator[str]:
        """See ports.queue.GenerationQueue.notices.

        A notice may get lost while the connection is down; the record keeps the stop request.
        """
        listener: asyncio.Queue[str] = asyncio.Queue(_MAX_PENDING_STOPS)
        self._stop_listeners.add(listener)
        try:
            while True:
                yield await listener.get()
        finally:
            self._stop_listeners.discard(listener)

    def _on_stop_messages(self, messages: Sequence[list[bytes]]) -> None:
        for *_, payload in messages:
            for listener in self._stop_listeners:
                with suppress(asyncio.QueueFull):
                    listener.put_nowait(payload.decode())

    async def _blocking_call(self, *arguments: Argument, block_seconds: float = 0.0) -> Any:
        """Call a command that may block. Create the consumer group when Redis has lost it."""
        await self._running.wait()
        assert self._pipeline is not None
        now = asyncio.get_running_loop().time
        due_at = now() + block_seconds + self._grace_seconds
        try:
            reply = await self._pipeline.call(*arguments)
        except BrokerUnavailable:
            due_at = 0.0
            raise
        finally:
            if now() > due_at:
                self._claims_from = now() + self._grace_seconds
        if isinstance(reply, ResponseError) and str(reply).startswith("NOGROUP"):
            for name in self._stream_names:
                # The error BUSYGROUP means that another worker has created it.
                await self._pipeline.call("XGROUP", "CREATE", name, JOBS_GROUP, "0", "MKSTREAM")
            reply = await self._pipeline.call(*arguments)
        if isinstance(reply, Exception):
            self._client.mark_topology_stale()
            raise BrokerUnavailable(f"the broker refused the command: {reply}") from reply
        return reply


async def list_waiting_versions(client: RedisClient) -> list[WaitingVersion]:
    """See ports.queue.GenerationQueue.waiting_versions."""
    return [
        each._replace(workers=await count_workers(client, versioned_queue(*each[:2])))
        for each in await _list_versions(client)
    ]


async def _list_versions(client: RedisClient) -> list[WaitingVersion]:
    """Return the versions without the number of their workers."""
    counts = await client.call_key(JOBS_PARTITION, "HGETALL", JOBS_VERSIONS)
    versions = []
    for name, jobs in _pairs(counts):
        queue, _, version = name.decode().partition("@")
        versions.append(WaitingVersion(queue, version, int(jobs), None))
    return sorted(versions, key=lambda each: each[:2])


async def count_workers(client: RedisClient, queue: str) -> int | None:
    """Return how many workers have read a queue lately; None if the login may not ask for it.

    Raise BrokerUnavailable.
    """
    try:
        name = client.name(jobs_stream(queue))
        consumers = await client.call(JOBS_PARTITION, "XINFO", "CONSUMERS", name, JOBS_GROUP)
    except BrokerUnavailable as error:
        if "no such key" in str(error) or "NOGROUP" in str(error):
            return 0  # no worker has ever run
        if "NOPERM" in str(error):
            return None
        raise
    return sum(int(dict(_pairs(each))[b"idle"]) <= _MAX_IDLE_MS for each in consumers)


def _pairs(fields: Any) -> Iterable[tuple[bytes, Any]]:
    """Return the fields of a reply, which is a map or a flat list."""
    return fields.items() if isinstance(fields, dict) else zip(*[iter(fields)] * 2, strict=True)


def _arguments(job: Job) -> tuple[str, str, str, str]:
    return job.queue, job.upstream, job.user, job.generation


def _parse_state(state: bytes) -> JobState | None:
    if not state:
        return None
    if state == b"attended":
        return JobState(is_attended=True)
    return JobState(is_attended=False, unattended_checks=int(state))


def _parse_member(member: bytes) -> str:
    """Return the generation of a waiting job (fair_queue.lua)."""
    return member.decode().split(" ")[3]


def _parse_lease(stream: str, token: bytes, fields: Sequence[bytes], deliveries: int) -> Lease:
    values = [field.decode() for field in fields]
    job = dict(zip(values[::2], values[1::2], strict=True))  # fair_queue.lua
    return Lease(
        job["generation"],
        job["user"],
        job["upstream"],
        token.decode(),
        stream,
        deliveries,
        job.get("topic"),
    )
