"""The job of a generation in the queue, and the end of a generation that no worker attends to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from hub.core.event import encode_json
from hub.core.external_producer import AttemptNotes, ExternalUpdate
from hub.core.fair_queue import DEFAULT_QUEUE, Admission, Job
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Status,
    UpdateKind,
    build_end_fields,
)
from hub.core.journal_entries import read_durable_state
from hub.core.push_job import end_deliveries
from hub.engine.attempts.attempt import GenerationResult, lost_key
from hub.engine.generations.generation_log import LogTrimmed, ends_after
from hub.engine.generations.input_events import (
    close_requests,
    end_overdue,
    expired,
    publish_answer,
    publish_request,
    show_answer,
)
from hub.error_codes import INPUT_TIMEOUT
from hub.errors import ProducerLost, RecordLost
from hub.ports.claims import ClaimedJob, JobClaims
from hub.ports.events import FROM_START, EventLog, Outcome, Publication
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue

_log = structlog.get_logger(__name__)


async def _ignore_result(result: GenerationResult) -> None:
    pass


class GenerationJobs:
    """Adds and removes the jobs of generations.

    queues: the queue of each upstream, by name; the others use `default`. claims, retries: the jobs
    that external producers claim, and how often each of those upstreams, by name, lets another one
    have a job whose producer was lost. cancelling: the upstreams that a worker tells of an answer
    which a node has ended, and which may go on there. on_result: called for each answer of an
    external producer that ended on this node.
    """

    def __init__(
        self,
        events: EventLog,
        store: GenerationStore,
        queue: GenerationQueue,
        queues: Mapping[str, str] | None = None,
        *,
        claims: JobClaims | None = None,
        retries: Mapping[str, int] | None = None,
        cancelling: Collection[str] = (),
        on_result: Callable[[GenerationResult], Awaitable[None]] = _ignore_result,
    ) -> None:
        self._events = events
        self._store = store
        self._queue = queue
        self._queues = queues or {}
        self._claims = claims
        self._retries = retries or {}
        self._cancelling = cancelling
        self._on_result = on_result

    async def add(self, record: Generation) -> Admission:
        """Add the job of a generation, unless it has one. Raise BrokerUnavailable."""
        return await self._queue.enqueue(self._job(record))

    async def add_again(self, record: Generation) -> None:
        """Add the job of a generation that has lost it. Raise BrokerUnavailable."""
        await self._queue.requeue(self._job(record))

    async def resume(self, record: Generation) -> None:
        """Add the job of a suspended answer that has its value. Raise BrokerUnavailable.

        The process that posts an external answer begins the next attempt itself.
        """
        if not record.request.producer:
            await self.add_again(record)

    async def release(self, record: Generation) -> None:
        """Remove the job of a suspended answer, and do what has become due meanwhile.

        Raise BrokerUnavailable.
        """
        is_taken = record.request.upstream in self._retries
        await self._queue.withdraw(self._job(record), is_taken=is_taken)
        await self.check_released(record.id, was_suspended=True)

    async def show_request(self, record: Generation) -> None:
        """Publish the request of a suspended answer to its approvers. Raise BrokerUnavailable."""
        stored = record.inputs.get(record.suspended or "")
        if stored is not None:
            await publish_request(self._events, record, stored.request)

    async def check_released(self, generation: str, was_suspended: bool) -> None:
        """Do what has become due for an answer before its job was removed.

        was_suspended: whether the answer was suspended when the holder of the job last looked.
        While there was the job, a node that got the value or the end added none. Whoever ended the
        answer may have been lost before it told the approvers, and before it added the job of the
        next answer of the chat. Raise BrokerUnavailable.
        """
        record = await self._store.find(generation)
        if record is None:
            return
        if record.status is Status.QUEUED and record.suspended is not None:
            await self.resume(record)
        elif record.status.ended:
            await close_requests(self._events, record)
            await self.add_next(record)
            if was_suspended:
                await self._add_to_cancel(record, record.status)

    async def end_overdue_inputs(self, record: Generation, now: float) -> bool:
        """End the inputs for which an attempt has waited too long; the attempt goes on.

        now: in Unix seconds. Return whether there are any. Raise BrokerUnavailable.
        """
        return await end_overdue(self._events, record, record.inputs, now)

    async def end_unanswered(self, record: Generation) -> bool:
        """End a suspended answer whose time is over. Return whether it ended here.

        Raise BrokerUnavailable.
        """
        stored = record.inputs.get(record.suspended or "")
        if stored is None or (stored.answer is not None and not stored.answer.is_expired):
            return False
        if stored.answer is None:
            end = expired(record.id, stored.request.input)
            outcome = await publish_answer(self._events, record, stored.request, end)
            if outcome is not Outcome.WRITTEN:
                return False
        else:
            await show_answer(self._events, record, stored.request, stored.answer)
        message = f"nobody has answered in time: {stored.request.prompt}"
        failure = {"code": INPUT_TIMEOUT.name, "message": message, "retryable": True}
        return await self.end(record, Status.FAILED, failure)

    async def end(self, record: Generation, status: Status, fields: dict[str, Any]) -> bool:
        """End a generation that no worker attends to, and remove its job.

        record: as it was read. The broker refuses the end when a worker has started an attempt
        since then. fields: those of this kind of end.
        Return whether the generation ended here. Raise BrokerUnavailable.
        """
        latest: Generation | None = record
        while latest is not None and latest.writer == record.writer:
            published, result = await self._publish_end(latest, status, fields)
            if published is Outcome.GAP and latest.external is not None:
                latest = await self._store.find(record.id)  # its producer has posted more
                continue
            if published in (Outcome.STALE, Outcome.GAP):
                return False
            await self.remove_job(latest)
            await self._add_to_cancel(latest, status)
            if published is Outcome.WRITTEN and latest.external is not None:
                await self._on_result(result)
            return published is Outcome.WRITTEN
        return False

    async def _add_to_cancel(self, record: Generation, status: Status) -> None:
        """Let a worker cancel an answer that has ended so, if its upstream may still work for it.

        Raise BrokerUnavailable.
        """
        if record.request.upstream in self._cancelling and _may_go_on(record, status):
            await self.add_again(record)  # the worker finds that it has ended

    async def _publish_end(
        self, record: Generation, status: Status, fields: dict[str, Any]
    ) -> tuple[Outcome, GenerationResult]:
        end, result = _build_end(record, status, fields)
        (published,) = await self._events.publish([end])
        return published.outcome, result

    async def end_lost(self, record: Generation) -> bool:
        """End an answer whose external producer has not renewed its lease, or let another producer
        have its job.

        Return whether it ended here. Raise BrokerUnavailable.
        """
        if self._claims is not None and self._may_retry(record):
            if await self._store.void_lease(record, returned=False):
                await self._claims.give_back(record.id)
            return False
        lost = ProducerLost()
        failure = {"code": lost.code, "message": lost.message, "retryable": lost.retryable}
        return await self.end(record, Status.FAILED, failure)

    async def end_without_record(self, job: ClaimedJob) -> None:
        """End the generation of a claimed job whose record the broker has lost, and remove the job.

        The record of a generation that had ended may also have expired, so the log is searched for
        its end. All nodes and workers publish the end with the same key, so that only one does.
        Raise BrokerUnavailable.
        """
        has_ended = False
        with suppress(LogTrimmed):  # meanwhile; then the end is not known
            has_ended = await ends_after(self._events, job.channel, job.generation, FROM_START)
        request = GenerationRequest([], upstream=job.upstream, model="", topic=job.topic)
        record = Generation(id=job.generation, user=job.user, request=request)
        if not has_ended:
            lost = RecordLost()
            failure = {"code": lost.code, "message": lost.message, "retryable": lost.retryable}
            end, result = _build_end(record, Status.FAILED, failure)
            end = msgspec.structs.replace(end, idempotency_key=lost_key(record.id), update=None)
            (published,) = await self._events.publish([end])
            if published.outcome is Outcome.WRITTEN:
                _log.warning("generation.lost", generation=record.id)
                await self._on_result(result)
        await self.remove_job(record)

    async def return_job(self, record: Generation) -> bool:
        """Let another producer have a job whose producer returns it; its attempt does not count.

        Return False if its lease is void. Raise BrokerUnavailable.
        """
        if self._claims is None or not await self._store.void_lease(record, returned=True):
            return False
        await self._claims.give_back(record.id)
        return True

    def _may_retry(self, record: Generation) -> bool:
        upstream = record.request.upstream
        return not record.request.producer and record.losses <= self._retries.get(upstream, 0)

    async def finish(self, result: GenerationResult) -> None:
        """Do what follows the end of an answer that its external producer has ended.

        Raise BrokerUnavailable; then the reconciler does it.
        """
        await self.remove_job(result.generation)
        await self._on_result(result)

    async def remove_job(self, record: Generation) -> None:
        """Remove the job of a generation that has ended. Raise BrokerUnavailable."""
        is_taken = record.request.upstream in self._retries
        await self._queue.withdraw(self._job(record), is_taken=is_taken)
        await self.go_on_after(record)

    async def go_on_after(self, record: Generation) -> None:
        """Do what follows the end of an answer. record: with the inputs for which it has asked.

        Raise BrokerUnavailable.
        """
        if any(each.answer is None and each.request.approvers for each in record.inputs.values()):
            latest = await self._store.find(record.id)  # a value may have come before the end
            await close_requests(self._events, latest or record)
        await self.add_next(record)

    async def add_next(self, record: Generation) -> None:
        """Add the job of the generation that waited for the end of this one, if there is one.

        Raise BrokerUnavailable; then the reconciler adds it.
        """
        if record.request.chat is None:
            return
        generation = await self._store.next_of_chat(record.channel, record.request.chat)
        following = None if generation is None else await self._store.find(generation)
        if following is not None and not following.status.ended:
            await self.add_again(following)

    def _job(self, record: Generation) -> Job:
        request = record.request
        queue = self._queues.get(request.upstream, DEFAULT_QUEUE)
        # Without a user, the limits of one user hold for the topic.
        user = record.user or record.channel
        return Job(record.id, user, request.upstream, queue, request.topic)


def _may_go_on(record: Generation, status: Status) -> bool:
    """Return whether an upstream may still work for a generation that has ended.

    An answer in the background that no worker continued in time is complete meanwhile.
    """
    if record.suspended is not None:
        return True
    if status is not Status.STOPPED or not record.attempt:
        return False
    return read_durable_state(record.journal).checkpoint is not None


def _build_end(
    record: Generation, status: Status, fields: dict[str, Any]
) -> tuple[Publication, GenerationResult]:
    """Return the end event of a generation that no worker attends to, and its result."""
    seconds = max(0.0, record.age_seconds)
    notes = AttemptNotes(queued_seconds=seconds)
    if record.external is not None:
        notes = record.external.notes
    result = GenerationResult(
        generation=record,
        status=status,
        code=fields.get("code", ""),
        usage=notes.usage,
        queued_seconds=notes.queued_seconds,
        first_delta_seconds=notes.first_delta_seconds,
        total_seconds=seconds,
    )
    data = build_end_fields(
        {"generation": record.id, **fields},
        deltas=record.deltas,
        queued_seconds=result.queued_seconds,
        first_delta_seconds=result.first_delta_seconds,
        total_seconds=seconds,
        usage=result.usage,
    )
    update = GenerationUpdate(
        record.id,
        record.attempt,
        UpdateKind.END,
        status,
        index=record.deltas,
        writer=record.writer,
    )
    if record.external is not None:  # it may be posting: so that `deltas` is right
        progress = record.external.progress
        external = ExternalUpdate(progress, progress)
        update = msgspec.structs.replace(update, external=external)
    end = Publication(
        channel=record.channel,
        name=f"generation.{status.value}",
        data=encode_json(data),
        update=update,
        deliveries=end_deliveries(record, status),
    )
    return end, result
