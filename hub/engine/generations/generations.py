"""What users do with generations: start, find, join, stop, restart. Every node serves all of them.

A worker (engine/worker/worker.py) produces the answer. The record and the queue connect the two.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from hub.core.channel import OPERATOR, Channel, allows_topic, channel_for, partition_of
from hub.core.cursor import Position
from hub.core.event import encode_json
from hub.core.fair_queue import Admission
from hub.core.generation import (
    Generation,
    GenerationRequest,
    OnBusy,
    Status,
    StopResult,
    new_generation_id,
)
from hub.core.part_events import is_numbered, to_events
from hub.engine.attempts.attempt_events import beginning_fields
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generation_log import LogTrimmed, ends_after, read_events
from hub.engine.storage_budget import StorageBudget
from hub.error_codes import (
    GENERATION_FORBIDDEN,
    GENERATION_NOT_FOUND,
    NOT_RESTARTABLE,
    RESPONSE_NOT_FINISHED,
    TOO_MANY_GENERATIONS,
    UPSTREAM_QUEUE_FULL,
)
from hub.errors import CallerError, Conflict, Forbidden, NotFound, TooManyRequests
from hub.ports.events import EventLog
from hub.ports.generations import (
    CreatedGeneration,
    GenerationFilter,
    GenerationStore,
    GenerationSummary,
)
from hub.ports.queue import GenerationQueue

_RETRY_AFTER_SECONDS: Final = 5


class SnapshotStart(NamedTuple):
    """Where a reader of an answer starts.

    snapshot: whether the reader gets the record first; otherwise its own cursor is continued.
    has_all: whether the cursor is after the end event, so that nothing follows.
    """

    record: Generation
    cursor: Mapping[Channel, Position]
    snapshot: bool
    has_all: bool = False


class ReplayStart(NamedTuple):
    """Where a reader of all events of an answer starts.

    cursor: the position before the first event. When the log no longer reaches back to it, `events`
    holds the answer so far as events (names and data), and `cursor` is the position after them.
    """

    record: Generation
    cursor: Mapping[Channel, Position]
    events: Sequence[tuple[str, bytes]] | None = None


class Generations:
    """The use cases of /generations.

    queues: the queue of each upstream, by name; the others use `default`. jobs: None means those of
    these queues. steerable: the upstreams whose answers take messages while they run.
    """

    def __init__(
        self,
        events: EventLog,
        store: GenerationStore,
        queue: GenerationQueue,
        queues: Mapping[str, str] | None = None,
        budget: StorageBudget | None = None,
        *,
        jobs: GenerationJobs | None = None,
        steerable: Collection[str] = (),
    ) -> None:
        self._budget = budget
        self._events = events
        self._store = store
        self._queue = queue
        self._steerable = steerable
        self._jobs = jobs or GenerationJobs(events, store, queue, queues)

    async def start(
        self,
        user: str,
        request: GenerationRequest,
        idempotency_key: str | None = None,
        on_busy: OnBusy = OnBusy.ALLOW,
    ) -> CreatedGeneration:
        """Start a generation.

        user: the user id. idempotency_key: None means a new generation each time; the same key of
        the same user finds the generation that it started before. on_busy: what happens when the
        chat of the request has a generation that has not ended.
        Return the id and the position just before the first event, or the answer that has got the
        message of the request (CreatedGeneration.steered).
        Raise Conflict when the key or the chat forbids it, TooManyRequests when too many requests
        are queued or stored, BrokerUnavailable.
        """
        channel = channel_for(user, request.topic)
        generation = new_generation_id(partition_of(channel))
        steerable = request.upstream in self._steerable
        record = Generation(id=generation, user=user, request=request, steerable=steerable)
        size_bytes = len(msgspec.json.encode(request))
        owner = user or record.channel  # without a user, the topic has the limits of one
        await self._charge(owner, size_bytes)
        try:
            created = await self._store.create(record, idempotency_key, on_busy)
        except CallerError:
            await self._refund(owner, size_bytes)
            raise
        if not created.new:
            await self._refund(owner, size_bytes)
        if created.steered is not None:
            await self._queue.broadcast_notice(created.generation)
            return created
        for stopped in created.stopped:
            await self._finish_stop(stopped, user)
        # A queued generation may have failed to reach the queue, so its job is added again. A
        # superfluous job does no harm: the worker finds a generation that is running or ended.
        queued = record if created.new else await self._find_queued(created.generation)
        if created.waits or (queued is not None and queued.waits):
            await self._jobs.add_next(record)  # what it waits for may have ended by now
        elif queued is not None:
            admission = await self._jobs.add(queued)
            if admission is not Admission.ACCEPTED:  # the queue accepts a job that it already has
                await self._store.discard(queued, idempotency_key)
                await self._jobs.add_next(record)
                await self._refund(owner, size_bytes)
                raise _build_rejection(admission)
        return created

    async def list_of_user(self, user: str, which: GenerationFilter) -> Sequence[GenerationSummary]:
        """Return the kept generations of a user, newest first. Raise BrokerUnavailable."""
        return await self._store.list_of_user(user, which)

    async def _charge(self, user: str, size_bytes: int) -> None:
        if self._budget is not None:
            await self._budget.charge(user, size_bytes)

    async def _refund(self, user: str, size_bytes: int) -> None:
        if self._budget is not None:
            await self._budget.refund(user, size_bytes)

    async def find(self, generation: str, user: str) -> Generation:
        """Return the record of a generation of this user. Raise NotFound, Forbidden."""
        return await self.read(generation, user, topics=())

    async def read(self, generation: str, user: str, topics: Sequence[str]) -> Generation:
        """Return the record of a generation that a user may read.

        These are the user's own ones, and those of the topics that the user may follow. topics:
        their names; `*` at the end is a wildcard.
        Raise NotFound, Forbidden.
        """
        record = await self._store.find(generation)
        if record is None:
            raise generation_not_found()
        topic = record.request.topic
        if record.user != user and (topic is None or not allows_topic(topics, topic)):
            raise Forbidden("this generation belongs to another user", code=GENERATION_FORBIDDEN)
        return record

    async def join(self, record: Generation, cursor: Mapping[Channel, Position]) -> SnapshotStart:
        """Return where a reader of a generation starts.

        That is after its cursor if the log holds everything since then, else at a snapshot.
        Raise NotFound if the record is gone meanwhile.
        """
        channel = record.channel
        if channel in cursor:
            after = cursor[channel]
            if await self._is_readable(channel, after):
                has_all = record.status.ended and not await self._ends_after(record, after)
                return SnapshotStart(record, {channel: after}, snapshot=False, has_all=has_all)
        record, position = await self._snapshot(record)
        return SnapshotStart(record, {channel: position}, snapshot=True)

    async def open_replay(
        self, generation: str, user: str, topics: Sequence[str] = ()
    ) -> ReplayStart:
        """Return where a reader of all events starts. topics, errors: as in `read`."""
        record = await self.read(generation, user, topics)
        channel = record.channel
        if record.after is not None and await self._is_readable(channel, record.after):
            return ReplayStart(record, {channel: record.after})
        record, position = await self._snapshot(record)
        return ReplayStart(record, {channel: position}, _build_events(record))

    async def stored_events(self, replay: ReplayStart) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the names and data of the events so far.

        The iteration ends early when the log is trimmed meanwhile.
        """
        for stored in replay.events or ():
            yield stored
        if replay.events is not None:
            return
        record = replay.record
        after = replay.cursor[record.channel]
        with suppress(LogTrimmed):
            async for event in read_events(self._events, record.channel, record.id, after):
                yield event.name, event.data

    async def newest_of_chat(self, user: str, chat: str, *, include_ended: bool) -> str | None:
        """Return the id of the newest generation of a chat, None if there is none.

        include_ended: whether it may have ended.
        """
        newest = await self._store.newest_of_chat(user, chat)
        record = None if newest is None else await self._store.find(newest)
        if record is None or (record.status.ended and not include_ended):
            return None
        return newest

    async def stop(self, generation: str, user: str) -> StopResult:
        """Stop a generation on whichever worker it runs; a queued one ends at once.

        Raise NotFound, Forbidden, BrokerUnavailable.
        """
        await self.find(generation, user)
        return await self._request_stop(generation, user)

    async def stop_as_operator(self, generation: str) -> StopResult:
        """Stop a generation, whoever it belongs to. Raise NotFound, BrokerUnavailable."""
        return await self._request_stop(generation, OPERATOR)

    async def _request_stop(self, generation: str, by: str) -> StopResult:
        result = await self._store.request_stop(generation, by)
        if result is None:
            raise generation_not_found()
        if result is StopResult.STOPPING:
            await self._finish_stop(generation, by)
        return result

    async def steer(
        self, record: Generation, message: Mapping[str, Any], by: str, idempotency_key: str | None
    ) -> int:
        """Send a message to the producer of an answer, on whichever worker it runs.

        record: as it was read. message: in the form of OpenAI's chat completions. by: the user.
        Return the number of the message; the same idempotency key of the same answer has the first
        one. Raise NotFound, TooManyRequests, BrokerUnavailable, and Conflict when the key was used
        with another message, or the answer has ended, takes no messages, or no more.
        """
        encoded = encode_json(message)
        owner = record.user or record.channel
        await self._charge(owner, len(encoded))
        is_new = False
        try:
            result = await self._store.steer(record, encoded, by, idempotency_key)
            is_new = result is not None and result[1]
        finally:
            if not is_new:
                await self._refund(owner, len(encoded))
        if result is None:
            raise generation_not_found()
        await self._queue.broadcast_notice(record.id)
        return result[0]

    async def delete(self, generation: str, user: str) -> None:
        """Delete the record of a generation that has ended. Its events stay in the log.

        Raise NotFound, Forbidden, BrokerUnavailable, and Conflict if it has not ended.
        """
        await self.find(generation, user)
        if not await self._store.delete(generation):
            raise Conflict("the answer has not ended yet; try again", code=RESPONSE_NOT_FINISHED)

    async def restart(
        self, generation: str, user: str, idempotency_key: str | None = None
    ) -> CreatedGeneration:
        """Stop a generation if it has not ended, and start another one with the same request.

        idempotency_key and errors: as in `start`; also NotFound, Forbidden, and Conflict for the
        answer of an external producer.
        """
        record = await self.find(generation, user)
        if record.request.producer:
            raise Conflict(
                "the application posted this answer itself; ask it for another one",
                code=NOT_RESTARTABLE,
                generation=generation,
            )
        if not record.status.ended:
            await self.stop(generation, user)
        return await self.start(user, record.request, idempotency_key)

    async def _find_queued(self, generation: str) -> Generation | None:
        record = await self._store.find(generation)
        return record if record is not None and record.status is Status.QUEUED else None

    async def _is_readable(self, channel: Channel, after: Position) -> bool:
        """Whether the log holds every event after a position."""
        pages = await self._events.read({channel: after}, max_events=1, max_bytes=1)
        return pages[channel].reset_reason is None

    async def _snapshot(self, record: Generation) -> tuple[Generation, Position]:
        """Return the current record and its position in the channel. Raise NotFound."""
        snapshot = await self._store.snapshot(record)
        if snapshot is None:
            raise generation_not_found()
        return snapshot

    async def _ends_after(self, record: Generation, position: Position) -> bool:
        """Whether the end event is after the position, or the log no longer reaches back to it."""
        try:
            return await ends_after(self._events, record.channel, record.id, position)
        except LogTrimmed:
            return True

    async def _finish_stop(self, generation: str, by: str) -> None:
        """End a generation whose record has a stop request here if no worker has started it, else
        notify the workers.

        The broker refuses the end once a worker has started the generation.
        """
        record = await self._store.find(generation)
        if record is None or record.status.ended:
            return
        by = record.stop_requested_by or by
        has_worker = record.attempt and record.external is None and record.suspended is None
        if has_worker or not await self._jobs.end(record, Status.STOPPED, {"by": by}):
            await self._queue.broadcast_notice(generation)


def _build_events(record: Generation) -> list[tuple[str, bytes]]:
    """Return events that say the same as the record: each of its parts in one or two."""
    events: list[tuple[str, dict[str, Any]]] = []
    if record.attempt:
        events.append(("generation.started", beginning_fields(record, record.attempt)))
    parts = [*to_events(record.parts)]
    # The last one has the number that it has for other readers.
    i = max(0, record.deltas - sum(is_numbered(name) for name, _ in parts))
    for name, fields in parts:
        if is_numbered(name):
            events.append((name, {"i": i, **fields}))
            i += 1
        else:
            events.append((name, fields))
    if record.status.ended:
        events.append((f"generation.{record.status.value}", record.end))
    return [(name, encode_json({"generation": record.id, **fields})) for name, fields in events]


def generation_not_found() -> NotFound:
    """Return the error of an id that has no record."""
    return NotFound("there is no such generation; it may have expired", code=GENERATION_NOT_FOUND)


def _build_rejection(admission: Admission) -> TooManyRequests:
    is_user = admission is Admission.USER_FULL
    owner = "this user" if is_user else "this upstream"
    return TooManyRequests(
        f"too many generations of {owner} are queued; try again later",
        code=TOO_MANY_GENERATIONS if is_user else UPSTREAM_QUEUE_FULL,
        limit=f"questions_{admission.value}",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )
