"""What a user can do with generations: start, look, stop, restart. Any node serves any of them.

The work itself is a worker's (engine/worker.py); between the two stand the record, which lasts,
and the queue.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from hub.core.channel import Channel, partition_of, user_channel
from hub.core.cursor import Position
from hub.core.event import Event, encode_json
from hub.core.fair_queue import Admission, Job
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Status,
    StopResult,
    UpdateKind,
    end_fields,
    new_generation_id,
)
from hub.engine.generation_stream import END_EVENTS, data_prefix
from hub.errors import Forbidden, NotFound, TooManyRequests
from hub.ports.events import EventLog, Outcome, Publication
from hub.ports.generations import CreatedGeneration, GenerationStore
from hub.ports.queue import GenerationQueue

_RETRY_AFTER_SECONDS: Final = 5
_PAGE_EVENTS: Final = 200
_PAGE_BYTES: Final = 64 * 1024


class SnapshotStart(NamedTuple):
    """Where a reader of an answer begins. has_all: it was there at the end; nothing will follow."""

    record: Generation
    cursor: Mapping[Channel, Position]
    snapshot: bool
    has_all: bool = False


class ReplayStart(NamedTuple):
    """What a reader of the whole answer begins with: its record and the position before its first
    event; or, when the log no longer reaches back there, `kept`: what there is so far, as events,
    and the position after them.
    """

    record: Generation
    cursor: Mapping[Channel, Position]
    kept: Sequence[tuple[str, bytes]] | None = None


class Generations:
    """The use cases of /generations. queue_of: of each upstream, where it is not `default`."""

    def __init__(
        self,
        events: EventLog,
        store: GenerationStore,
        queue: GenerationQueue,
        queue_of: Mapping[str, str] | None = None,
    ) -> None:
        self._queue_of = queue_of or {}
        self._events = events
        self._store = store
        self._queue = queue

    async def start(
        self, user: str, request: GenerationRequest, idempotency_key: str | None = None
    ) -> CreatedGeneration:
        """Queues a question; the same user's same key finds the generation it started before."""
        fresh = new_generation_id(partition_of(user_channel(user)))
        wish = Generation(id=fresh, user=user, request=request, requested_at=time.time())
        created = await self._store.create(wish, idempotency_key)
        if created.new or await self._is_queued(created.generation):
            # Again when it may never have reached the queue; a job too many finds nothing to begin.
            admission = await self._queue.enqueue(self._job(created.generation, user, request))
            if admission is not Admission.ACCEPTED:  # of a job that it has, the queue says TAKEN
                await self._store.discard(created.generation, user, idempotency_key, request.chat)
                raise _refusal(admission)
        return created

    async def find(self, generation: str, user: str) -> Generation:
        """The record with the text so far. Raises NotFound, or Forbidden for another's."""
        found = await self._store.find(generation)
        if found is None:
            raise NotFound("there is no such generation, or it is no longer kept")
        if found.user != user:
            raise Forbidden("this generation belongs to another user")
        return found

    async def join(
        self, generation: str, user: str, cursor: Mapping[Channel, Position]
    ) -> SnapshotStart:
        """Where a reader begins: after its cursor, if all since then can be had, else with what
        there is so far. Raises NotFound and Forbidden.
        """
        found = await self.find(generation, user)
        channel = user_channel(user)
        if channel in cursor:
            after = cursor[channel]
            pages = await self._events.read({channel: after}, max_events=1, max_bytes=1)
            if pages[channel].reset_reason is None:
                has_all = found.status.ended and not await self._ends_after(found, after)
                return SnapshotStart(found, {channel: after}, snapshot=False, has_all=has_all)
        snapshot = await self._store.snapshot(found)
        if snapshot is None:
            raise NotFound("there is no such generation, or it is no longer kept")
        record, position = snapshot
        return SnapshotStart(record, {channel: position}, snapshot=True)

    async def open_replay(self, generation: str, user: str) -> ReplayStart:
        """Where a reader of all its events begins. Raises NotFound and Forbidden."""
        found = await self.find(generation, user)
        channel = user_channel(user)
        if found.after is not None:
            pages = await self._events.read({channel: found.after}, max_events=1, max_bytes=1)
            if pages[channel].reset_reason is None:
                return ReplayStart(found, {channel: found.after})
        snapshot = await self._store.snapshot(found)
        if snapshot is None:
            raise NotFound("there is no such generation, or it is no longer kept")
        record, position = snapshot
        return ReplayStart(record, {channel: position}, _as_events(record))

    async def stored_events(self, replay: ReplayStart) -> AsyncIterator[tuple[str, bytes]]:
        """Its events up to now: names and data. It ends early where the log was cut meanwhile."""
        for kept in replay.kept or ():
            yield kept
        channel = user_channel(replay.record.user)
        at = replay.cursor[channel]
        while replay.kept is None:
            pages = await self._events.read(
                {channel: at}, max_events=_PAGE_EVENTS, max_bytes=_PAGE_BYTES
            )
            page = pages[channel]
            for event in page.events:
                if belongs_to(event, replay.record.id):
                    yield event.name, event.data
            if page.end == page.head:
                return
            at = page.end

    async def newest_of_chat(self, user: str, chat: str, *, include_ended: bool) -> str | None:
        """The newest generation of the user's chat, if it runs or waits to, or has ended."""
        newest = await self._store.newest_of_chat(user, chat)
        found = None if newest is None else await self._store.find(newest)
        if found is None or (found.status.ended and not include_ended):
            return None
        return newest

    async def _ends_after(self, ended: Generation, position: Position) -> bool:
        """Whether its end is still to be read from there, or can no longer be had from there."""
        channel = user_channel(ended.user)
        while True:
            pages = await self._events.read(
                {channel: position}, max_events=_PAGE_EVENTS, max_bytes=_PAGE_BYTES
            )
            page = pages[channel]
            if page.reset_reason or any(
                event.name in END_EVENTS and belongs_to(event, ended.id) for event in page.events
            ):
                return True
            if page.end == page.head:
                return False
            position = page.end

    async def stop(self, generation: str, user: str) -> StopResult:
        """Stops it wherever it runs; one that is still queued ends here and never begins."""
        found = await self.find(generation, user)
        answer = await self._store.request_stop(generation, user)
        if answer is None:
            raise NotFound("there is no such generation, or it is no longer kept")
        if answer is StopResult.STOPPING and not await self._end_if_queued(found, user):
            await self._queue.broadcast_stop(generation)
        return answer

    async def restart(
        self, generation: str, user: str, idempotency_key: str | None = None
    ) -> CreatedGeneration:
        """Stops it if it has not ended, and asks the same question anew; the key as in `start`."""
        found = await self.find(generation, user)
        if not found.status.ended:
            await self.stop(generation, user)
        return await self.start(user, found.request, idempotency_key)

    def _job(self, generation: str, user: str, request: GenerationRequest) -> Job:
        queue = self._queue_of.get(request.upstream, "default")
        return Job(generation, user, request.upstream, queue)

    async def _is_queued(self, generation: str) -> bool:
        found = await self._store.find(generation)
        return found is not None and found.status is Status.QUEUED

    async def _end_if_queued(self, generation: Generation, by: str) -> bool:
        """Whether it ended here. The broker refuses the step once a worker has begun."""
        if generation.status is not Status.QUEUED:
            return False
        waited = max(0.0, time.time() - generation.requested_at) if generation.requested_at else 0.0
        data = end_fields(
            {"generation": generation.id, "by": by},
            deltas=0,
            queued_seconds=waited,
            first_delta_seconds=None,
            total_seconds=waited,
        )
        (published,) = await self._events.publish(
            [
                Publication(
                    channel=user_channel(generation.user),
                    name="generation.stopped",
                    data=encode_json(data),
                    update=GenerationUpdate(generation.id, 0, UpdateKind.END, Status.STOPPED),
                )
            ]
        )
        await self._queue.withdraw(self._job(generation.id, generation.user, generation.request))
        return published.outcome is Outcome.WRITTEN


def belongs_to(event: Event, generation: str) -> bool:
    """Whether it is one of the generation's own events."""
    return event.name.startswith("generation.") and event.data.startswith(data_prefix(generation))


def _as_events(record: Generation) -> list[tuple[str, bytes]]:
    """What its record still tells: the text as one delta, without reasoning and tool calls."""
    told: list[tuple[str, dict[str, Any]]] = []
    if record.attempt:
        told.append(("started", {"attempt": record.attempt, "model": record.request.model}))
    if record.text:
        told.append(("delta", {"i": 0, "text": record.text}))
    if record.status.ended:
        told.append((record.status.value, record.end))
    return [
        (f"generation.{name}", encode_json({"generation": record.id, **fields}))
        for name, fields in told
    ]


def _refusal(admission: Admission) -> TooManyRequests:
    whose = "you have" if admission is Admission.USER_FULL else "this upstream has"
    return TooManyRequests(
        f"{whose} too many questions waiting",
        limit=f"questions_{admission.value}",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )
