"""Answers whose parts a process of the application posts: an external producer.

Every node serves every producer. The broker decides which posts count (core/external_producer.py);
a node only keeps what it has read in a cache.

    start ─> post, post, … ─> end
      └────────┴─> its lease ends: `producer_lost`

Rules:
1. A producer begins an attempt with a new lease, which voids the lease of the attempt before.
2. A stop request ends the answer at once: the node that learns of it publishes the end.
3. A post whose answer was lost may be repeated through any node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from hub.core.channel import channel_for, partition_of
from hub.core.cursor import Position
from hub.core.durable import AskInput, DurableState
from hub.core.external_producer import (
    AttemptNotes,
    ExternalUpdate,
    Progress,
    lease_digest,
    new_lease,
)
from hub.core.generation import (
    Generation,
    GenerationRequest,
    OnBusy,
    Status,
    new_generation_id,
)
from hub.core.inputs import InputRequest, ReceivedInput, list_received
from hub.core.parts_journal import PartsLimits, PartsTooLarge
from hub.core.posted_parts import NewParts, Posted, PostedEnd, select_new
from hub.core.steering import SteeringMessage
from hub.engine.attempts.attempt_events import RESTARTED, STARTED, AttemptEvents
from hub.engine.drain_signal import DrainSignal
from hub.engine.external.attempt_cache import AttemptCache
from hub.engine.external.external_attempt import ExternalAttempt, new_author, with_external
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import generation_not_found
from hub.engine.generations.input_events import end_overdue, publish_request
from hub.engine.storage_budget import StorageBudget
from hub.error_codes import (
    ANSWER_TOO_LARGE,
    CONFLICT,
    ENDED,
    LEASE_LOST,
    PRODUCER_LOST,
    TOO_MANY_WAITING,
)
from hub.errors import BrokerUnavailable, CallerError, Conflict, SequenceGap
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Outcome, Publication
from hub.ports.generations import GenerationStore

_MAX_REFUSALS: Final = 100  # of one call; each one means that somebody else was faster
_WRITTEN: Final = (Outcome.WRITTEN, Outcome.DUPLICATE)
_log = structlog.get_logger(__name__)


class StartedAttempt(msgspec.Struct, frozen=True):
    """A producer's new attempt.

    record: as it was read just before the attempt. new: whether this call created the generation.
    state: what earlier attempts have stored.
    """

    record: Generation
    attempt: int
    lease: str
    lease_seconds: float
    new: bool = False
    state: DurableState = DurableState()


class PostResult(msgspec.Struct, frozen=True):
    """The answer to a post.

    ack: the newest published part. stop: who stopped the answer, None if nobody did. is_over:
    whether nothing more can be posted. steering: the messages of users so far. inputs: those that
    wait no longer.
    """

    ack: int
    lease_seconds: float
    stop: str | None = None
    is_over: bool = False
    steering: Sequence[SteeringMessage] = ()
    inputs: Sequence[ReceivedInput] = ()


class ExternalProducers:
    """What external producers do with generations: begin them, post their parts, end them."""

    def __init__(
        self,
        events: EventWriter,
        store: GenerationStore,
        jobs: GenerationJobs,
        clock: Clock,
        *,
        limits: PartsLimits,
        budget: StorageBudget | None = None,
        max_cache_bytes: int = 64 * 1024 * 1024,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now  # in Unix seconds
        self._events = events
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._limits = limits
        self._budget = budget
        self._cache = AttemptCache(max_bytes=max_cache_bytes)
        self.draining = DrainSignal()  # streamed posts are answered, and no job is waited for

    async def start(
        self,
        user: str,
        request: GenerationRequest,
        idempotency_key: str | None,
        *,
        lease_seconds: float,
        on_busy: OnBusy = OnBusy.ALLOW,
    ) -> StartedAttempt:
        """Begin the answer, or the next attempt at the answer that has the idempotency key.

        Raise Conflict when the answer has ended, or the key or the chat forbids it;
        TooManyRequests, BrokerUnavailable.
        """
        generation = new_generation_id(partition_of(channel_for(user, request.topic)))
        record = Generation(id=generation, user=user, request=request, steerable=True)
        size_bytes = len(msgspec.json.encode(request))
        if self._budget is not None:
            await self._budget.charge(user or record.channel, size_bytes)
        is_new = False
        try:
            created = await self._store.create(record, idempotency_key, on_busy)
            is_new = created.new
        finally:
            if self._budget is not None and not is_new:
                await self._budget.refund(user or record.channel, size_bytes)
        return await self.begin(created.generation, new_lease(), lease_seconds, new=is_new)

    async def begin(
        self,
        generation: str,
        lease: str,
        lease_seconds: float,
        *,
        new: bool = False,
        after: int | None = None,
    ) -> StartedAttempt:
        """Begin the next attempt with this lease; every other one is void.

        after: the number of the attempt before it; None means whichever is the newest one.
        Raise Conflict when the answer has ended, or another attempt has begun after that one;
        BrokerUnavailable.
        """
        for _ in range(_MAX_REFUSALS):
            record = await self._store.find(generation)
            if record is not None and record.stop_requested_by and not record.status.ended:
                await self._stop(record)
                record = await self._store.find(generation)
            if record is None or record.status.ended:
                raise _ended(generation)
            if after not in (None, record.attempt):
                raise lease_lost()
            events = AttemptEvents(record, self._limits, next_writer=lease_digest(lease))
            publications = self._begin_events(events, record, lease_seconds)
            published = await self._events.publish(publications)
            if any(each.stop_requested_by is not None for each in published):
                continue  # since the record was read
            if all(each.outcome in _WRITTEN for each in published):
                _log.info("producer.started", generation=generation, attempt=events.number)
                return StartedAttempt(
                    record, events.number, lease, lease_seconds, new, events.state
                )
        raise _contended()

    def _begin_events(
        self, events: AttemptEvents, record: Generation, lease_seconds: float
    ) -> list[Publication]:
        """Return what begins the next attempt, which keeps what earlier ones have stored."""
        is_first = record.attempt == 0
        publications = events.begin_after(record, STARTED if is_first else RESTARTED)
        checkpoint = events.state.checkpoint
        usage = None if checkpoint is None or checkpoint.usage is None else dict(checkpoint.usage)
        notes = AttemptNotes(
            queued_seconds=round(max(0.0, record.age_seconds), 3),
            usage=usage,
            calls=events.next_call,
        )
        progress = Progress(author=new_author())
        return [
            with_external(each, ExternalUpdate(progress, progress, lease_seconds, notes))
            for each in publications
        ]

    async def post(
        self, generation: str, lease: str, posted: Sequence[Posted], *, whole: bool = True
    ) -> PostResult:
        """Publish the new ones of posted parts, and renew the lease.

        whole: whether nothing is published when a part is missing; otherwise those before it are.
        Raise NotFound; Conflict when the lease is void, a part is missing, or the answer has ended
        or has become too large; BrokerUnavailable.
        """
        async with self._cache.lock(generation):
            writer = lease_digest(lease)
            attempt = self._cache.take(generation)
            if attempt is not None and attempt.record.writer != writer:
                attempt = None
            is_read = False
            for _ in range(_MAX_REFUSALS):
                if attempt is None:
                    read = await self._read(generation, writer, posted)
                    if isinstance(read, PostResult):
                        return read
                    attempt, is_read = read, True
                new = select_new(posted, attempt.progress)
                if new.expected is not None and not is_read:
                    attempt = None  # another node may have published the missing parts
                    continue
                if new.expected is not None and whole:
                    self._cache.put(generation, attempt)
                    raise _gap(new.expected)
                result = await self._publish(attempt, new)
                if result is not None:
                    return result
                attempt, is_read = None, False
        raise _contended()

    async def open_control(self, generation: str, lease: str) -> tuple[Generation, Position]:
        """Return the record of an attempt, and the position of its channel at the same moment.

        Raise NotFound; Conflict when the lease is void or the answer has ended, unless somebody
        stopped it; BrokerUnavailable.
        """
        record = await self._store.find(generation)
        snapshot = record and await self._store.snapshot(record)
        if not snapshot:
            raise generation_not_found()
        record = snapshot[0]
        is_lost = record.end.get("code") == PRODUCER_LOST.name
        if record.external is None or record.writer != lease_digest(lease) or is_lost:
            raise lease_lost()
        if record.status.ended and record.status is not Status.STOPPED:
            raise _ended(generation)
        return snapshot

    async def find(self, generation: str) -> Generation | None:
        """Return the record of an answer, None if there is none. Raise BrokerUnavailable."""
        return await self._store.find(generation)

    async def return_lease(self, generation: str, lease: str) -> None:
        """Return a claimed job: another producer can claim it, and the attempt does not count.

        Raise NotFound; Conflict when the lease is void, the answer has ended or was not claimed;
        BrokerUnavailable.
        """
        record = await self._store.find(generation)
        if record is None:
            raise generation_not_found()
        if record.writer != lease_digest(lease):
            raise lease_lost()
        if record.stop_requested_by is not None:
            await self._stop(record)
            raise _ended(generation)
        if record.status.ended:
            raise _ended(generation)
        if record.request.producer:
            raise Conflict(
                "no job belongs to this answer; post its end", code=CONFLICT, generation=generation
            )
        if not await self._jobs.return_job(record):
            raise lease_lost()

    async def _publish(self, attempt: ExternalAttempt, new: NewParts) -> PostResult | None:
        """Publish the new parts and the end; return None if the broker refused any of it."""
        publications, problem = attempt.build(new.parts)
        end = new.end
        if problem is not None:
            end = _end_too_large(attempt.progress, problem)
        if end is not None:
            publications += attempt.end(end)
        by, received = None, 0
        for published in await self._events.publish(publications):
            if published.outcome not in _WRITTEN:
                return None
            by = published.stop_requested_by or by
            received = max(received, published.received)
        requests = [each.part.request for each in new.parts if isinstance(each.part, AskInput)]
        await self._follow(attempt, requests, is_new=received > attempt.received)
        if end is not None:
            _log.info("producer.ended", generation=attempt.record.id, status=end.status.value)
            await self._jobs.finish(attempt.result(end))
        if problem is not None:
            raise _ended(attempt.record.id, str(problem))
        result = PostResult(
            attempt.progress.seq,
            attempt.lease_seconds,
            is_over=end is not None,
            steering=attempt.steering,
            inputs=list_received(attempt.inputs),
        )
        if end is None and by is not None:
            return await self._stop_attempt(attempt, result)
        if new.parts and new.parts[-1].suspends:
            return await self._suspend(attempt, result)
        if end is None:
            self._cache.put(attempt.record.id, attempt)
        if new.expected is not None:
            raise _gap(new.expected)
        return result

    async def _follow(
        self, attempt: ExternalAttempt, requests: Sequence[InputRequest], *, is_new: bool
    ) -> None:
        """Take what users have sent, show new requests to approvers, and end overdue inputs.

        requests: the inputs that the attempt has just asked for. is_new: whether users have sent
        more. Raise BrokerUnavailable.
        """
        record: Generation | None = attempt.record
        if is_new or requests:
            record = await self._store.find(attempt.record.id)
            if record is not None:
                attempt.follow(record)
        for request in requests:
            await publish_request(self._events, attempt.record, request)
        if await end_overdue(self._events, attempt.record, attempt.inputs, self._now()):
            record = await self._store.find(attempt.record.id)
            if record is not None:
                attempt.follow(record)

    async def _suspend(self, attempt: ExternalAttempt, result: PostResult) -> PostResult:
        """Do what follows the last part of an attempt that waits for a value.

        Raise NotFound; Conflict when too many answers of the user wait; BrokerUnavailable.
        """
        record = await self._store.find(attempt.record.id)
        if record is None:
            raise generation_not_found()
        if record.suspended is None and not record.status.ended:
            message = "too many answers of this user wait for a value; try again later"
            failure = {"code": TOO_MANY_WAITING.name, "message": message, "retryable": True}
            await self._jobs.end(record, Status.FAILED, failure)
            raise _ended(message)
        _log.info("producer.suspended", generation=record.id, attempt=record.attempt)
        await self._release(record)
        return msgspec.structs.replace(result, is_over=True)

    async def _release(self, record: Generation) -> None:
        """Show the request of a suspended answer, and remove its job until the value comes."""
        if record.suspended is not None and not record.status.ended:
            await self._jobs.show_request(record)
            if not record.request.producer:
                await self._jobs.release(record)

    async def _stop_attempt(self, attempt: ExternalAttempt, result: PostResult) -> PostResult:
        """End an answer that somebody asked to stop, and return what its producer is told."""
        record = await self._store.find(attempt.record.id)
        if record is None:
            raise generation_not_found()
        stopped = await self._stop(record)
        return msgspec.structs.replace(result, stop=stopped, is_over=True)

    async def _stop(self, record: Generation) -> str | None:
        by = record.stop_requested_by
        if not record.status.ended:
            await self._jobs.end(record, Status.STOPPED, {"by": by})
        return by

    async def _read(
        self, generation: str, writer: str, posted: Sequence[Posted]
    ) -> ExternalAttempt | PostResult:
        """Return the attempt as the record has it; the answer to the post if it has ended.

        Raise NotFound, Conflict, BrokerUnavailable.
        """
        record = await self._store.find(generation)
        if record is None:
            raise generation_not_found()
        external = record.external
        if external is None or record.writer != writer:
            raise lease_lost()
        result = PostResult(
            external.progress.seq,
            external.lease_seconds,
            is_over=True,
            steering=record.steering,
            inputs=list_received(record.inputs),
        )
        if record.status.ended:
            return _answer_after_end(record, result, posted)
        if record.stop_requested_by is not None:
            by = await self._stop(record)
            return msgspec.structs.replace(result, stop=by)
        if record.suspended is not None:  # the answer to its last post was lost
            await self._release(record)
            return result
        if not external.is_held:
            await self._jobs.end_lost(record)
            raise lease_lost()
        return ExternalAttempt(record, self._limits, self._clock)


def _answer_after_end(
    record: Generation, result: PostResult, posted: Sequence[Posted]
) -> PostResult:
    """Return what a producer is told whose answer has ended. Raise Conflict."""
    if record.status is Status.STOPPED:
        return msgspec.structs.replace(result, stop=record.end.get("by"))
    if record.end.get("code") == PRODUCER_LOST.name:
        raise lease_lost()
    if any(each.seq > result.ack for each in posted):
        raise _ended(record.id)
    return result


def _end_too_large(progress: Progress, problem: PartsTooLarge) -> PostedEnd:
    failure: dict[str, Any] = {
        "code": ANSWER_TOO_LARGE.name,
        "message": str(problem),
        "retryable": False,
    }
    return PostedEnd(progress.seq, Status.FAILED, failure)


def lease_lost() -> CallerError:
    """Return the error of a lease that is void."""
    return Conflict(
        "this lease is void: it has ended, was returned, or another attempt has begun",
        code=LEASE_LOST,
    )


def _ended(generation: str, reason: str = "this answer has ended") -> CallerError:
    return Conflict(reason, code=ENDED, generation=generation)


def _gap(expected: int) -> CallerError:
    return SequenceGap(f"a part is missing: the next seq is {expected}", expected=expected)


def _contended() -> BrokerUnavailable:
    return BrokerUnavailable("other requests kept changing the same answer")
