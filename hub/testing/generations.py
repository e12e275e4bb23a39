"""The records of generations in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import msgspec

from hub.core.channel import Channel, user_channel
from hub.core.cursor import Position
from hub.core.event import encode_json
from hub.core.external_producer import LeaseState
from hub.core.generation import (
    Generation,
    GenerationUpdate,
    Moment,
    OnBusy,
    Refusal,
    Status,
    StopResult,
    UpdateKind,
    apply_update,
)
from hub.core.inputs import AnsweredInput, InputAnswer, RequestedInput
from hub.core.steering import (
    MAX_STEERING_BYTES,
    MAX_STEERING_MESSAGES,
    STEERED,
    SteeringMessage,
    last_user_message,
)
from hub.ports.events import Outcome
from hub.ports.generations import (
    MAX_LISTED_PER_USER,
    MAX_OPEN_PER_CHAT,
    CreatedGeneration,
    FoundInput,
    GenerationFilter,
    GenerationSummary,
    OpenGeneration,
    chat_busy,
    chat_full,
    generation_ended,
    key_reused,
    not_steerable,
    request_digest,
    steering_digest,
    steering_full,
)


class MemoryGenerationStore:
    """Implements ports.generations.GenerationStore.

    records: every record by its id; a test may look at it and change it.
    head_of: returns the position of a channel's newest event. append: publishes an event to a
    channel. now: returns the time in seconds.
    """

    def __init__(
        self,
        head_of: Callable[[Channel], Position],
        append: Callable[[Channel, str, bytes], None],
        check_available: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.records: dict[str, Generation] = {}
        self._head_of = head_of
        self._append = append
        self._check_available = check_available
        self._now = now
        self._lease_ends: dict[str, float] = {}  # of external producers, by generation
        self._last_sweep = -math.inf
        self._by_key: dict[tuple[Channel, str, str], tuple[CreatedGeneration, str]] = {}
        self._by_chat: dict[tuple[Channel, str], list[str]] = {}
        self._steering_keys: dict[tuple[str, str], tuple[int, str]] = {}  # number and digest

    async def create(
        self,
        generation: Generation,
        idempotency_key: str | None,
        on_busy: OnBusy = OnBusy.ALLOW,
    ) -> CreatedGeneration:
        self._check_available()
        key = generation.channel, generation.user, idempotency_key or ""
        digest = request_digest(generation.request)
        if idempotency_key and key in self._by_key:
            earlier, first_digest = self._by_key[key]
            if earlier.generation in self.records:
                if digest != first_digest:
                    raise key_reused()
                return msgspec.structs.replace(earlier, new=False)
        existing = self.records.get(generation.id)
        if existing is not None and existing.after is not None:
            return CreatedGeneration(generation.id, existing.after, new=True, waits=existing.waits)
        head = self._head_of(generation.channel)
        steered = self._steer_open(generation, head) if on_busy is OnBusy.STEER else None
        if steered is not None:
            if idempotency_key:
                self._by_key[key] = steered, digest
            return steered
        waits, stopped = self._join_chat(generation, on_busy)
        created = CreatedGeneration(generation.id, head, new=True, waits=waits, stopped=stopped)
        self.records[generation.id] = msgspec.structs.replace(
            generation, after=head, requested_at=self._now(), waits=waits
        )
        if generation.request.chat is not None:
            chat = generation.channel, generation.request.chat
            self._by_chat.setdefault(chat, []).append(generation.id)
        if idempotency_key:
            self._by_key[key] = CreatedGeneration(generation.id, head, new=True), digest
        return created

    def _join_chat(self, generation: Generation, on_busy: OnBusy) -> tuple[bool, list[str]]:
        """Return whether a new generation waits, and those that are stopped for it.

        Raise Conflict, TooManyRequests.
        """
        open_ = self._open_before(generation)
        if not open_ or on_busy is OnBusy.ALLOW:
            return False, []
        if on_busy is OnBusy.STEER:
            return True, []
        if on_busy is OnBusy.REJECT:
            raise chat_busy(open_[0].id)
        others = [record for record in open_ if record.user != generation.user]
        if on_busy is OnBusy.INTERRUPT and others:
            raise chat_busy(others[0].id)
        if len(open_) >= MAX_OPEN_PER_CHAT:
            raise chat_full()
        if on_busy is OnBusy.ENQUEUE:
            return True, []
        stopped = [record for record in open_ if record.stop_requested_by is None]
        for record in stopped:
            self.records[record.id] = msgspec.structs.replace(
                record, status=Status.STOPPING, stop_requested_by=generation.user
            )
        return True, [record.id for record in stopped]

    def _steer_open(self, generation: Generation, head: Position) -> CreatedGeneration | None:
        """Send the message of a request to the answer of its chat, None if there is none."""
        for record in self._open_before(generation):
            if record.status is not Status.STOPPING:
                if record.user != generation.user:
                    raise chat_busy(record.id)
                message = encode_json(last_user_message(generation.request.messages))
                n = self._steer(record, message, generation.user)
                return CreatedGeneration(record.id, head, new=False, steered=n)
        return None

    async def steer(
        self, generation: Generation, message: bytes, by: str, idempotency_key: str | None
    ) -> tuple[int, bool] | None:
        self._check_available()
        record = self.records.get(generation.id)
        if record is None:
            return None
        key, digest = (generation.id, idempotency_key or ""), steering_digest(message)
        if idempotency_key and key in self._steering_keys:
            n, first_digest = self._steering_keys[key]
            if digest != first_digest:
                raise key_reused()
            return n, False
        n = self._steer(record, message, by)
        if idempotency_key:
            self._steering_keys[key] = n, digest
        return n, True

    async def steering_of(self, generation: str) -> Sequence[SteeringMessage]:
        self._check_available()
        record = self.records.get(generation)
        return record.steering if record else ()

    def _steer(self, record: Generation, message: bytes, by: str) -> int:
        """Store and publish a message, and return its number. Raise Conflict."""
        if record.status.ended or record.status is Status.STOPPING:
            raise generation_ended(record.id)
        if not record.steerable:
            raise not_steerable(record.id)
        n = len(record.steering)
        sizes = [len(encode_json(each.message)) for each in record.steering]
        if n >= MAX_STEERING_MESSAGES or sum(sizes) + len(message) > MAX_STEERING_BYTES:
            raise steering_full(record.id)
        steered = SteeringMessage(n, msgspec.json.decode(message), by)
        self.records[record.id] = msgspec.structs.replace(
            record, steering=(*record.steering, steered), received=record.received + 1
        )
        data = {"generation": record.id, **msgspec.to_builtins(steered)}
        self._append(record.channel, STEERED, encode_json(data))
        return n

    def _open_before(self, generation: Generation) -> list[Generation]:
        """Return the open generations of the same chat that were created before this one."""
        chat = generation.request.chat
        of_chat = [] if chat is None else self._by_chat.get((generation.channel, chat), [])
        before = of_chat[: of_chat.index(generation.id)] if generation.id in of_chat else of_chat
        records = [self.records[each] for each in before if each in self.records]
        return [record for record in records if not record.status.ended]

    async def next_of_chat(self, channel: Channel, chat: str) -> str | None:
        self._check_available()
        of_chat = self._by_chat.get((channel, chat), [])
        records = [self.records[each] for each in of_chat if each in self.records]
        oldest = next((each for each in records if not each.status.ended), None)
        if oldest is None or oldest.status is not Status.QUEUED or not oldest.waits:
            return None
        return oldest.id

    async def list_of_user(self, user: str, which: GenerationFilter) -> list[GenerationSummary]:
        self._check_available()
        records = [record for record in self.records.values() if record.user == user][::-1]
        records = records[:MAX_LISTED_PER_USER]
        if which.before is not None:
            ids = [record.id for record in records]
            if which.before not in ids:
                return []
            records = records[ids.index(which.before) + 1 :]
        return [
            _summarize(record)
            for record in records
            if which.chat in (None, record.request.chat) and which.status in (None, record.status)
        ][: which.limit]

    async def find(self, generation: str) -> Generation | None:
        self._check_available()
        record = self.records.get(generation)
        return record and msgspec.structs.replace(
            self._with_lease(record),
            age_seconds=self._now() - record.requested_at,
        )

    async def find_input(self, generation: str, key: str) -> FoundInput | None:
        record = await self.find(generation)
        if record is None:
            return None
        stored = record.inputs.get(key)
        return FoundInput(user=record.user, status=record.status, stored=stored)

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        record = await self.find(generation.id)
        return (record, self._head_of(record.channel)) if record else None

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        self._check_available()
        return next(reversed(self._by_chat.get((user_channel(user), chat), [])), None)

    async def discard(self, generation: Generation, idempotency_key: str | None) -> None:
        self._check_available()
        record = self.records.get(generation.id)
        if record is not None and (record.status is not Status.QUEUED or record.attempt):
            return
        channel = generation.channel
        of_chat = self._by_chat.get((channel, generation.request.chat or ""), [])
        if generation.id in of_chat:
            of_chat.remove(generation.id)
        self.records.pop(generation.id, None)
        self._by_key.pop((channel, generation.user, idempotency_key or ""), None)

    async def delete(self, generation: str) -> bool:
        self._check_available()
        record = self.records.get(generation)
        if record is not None and not record.status.ended:
            return False
        self._forget(generation)
        return True

    async def list_kept(self, user: str) -> list[str]:
        self._check_available()
        return [record.id for record in self.records.values() if record.user == user][::-1]

    async def erase(self, user: str) -> None:
        for generation in await self.list_kept(user):
            self._forget(generation)

    def _forget(self, generation: str) -> None:
        self.records.pop(generation, None)
        for of_chat in self._by_chat.values():
            if generation in of_chat:
                of_chat.remove(generation)
        self._by_key = {
            key: each for key, each in self._by_key.items() if each[0].generation != generation
        }

    async def stop_requested_by(self, generation: str) -> str | None:
        record = await self.find(generation)
        return record.stop_requested_by if record else None

    async def list_leased_or_suspended(self, limit: int) -> list[str]:
        self._check_available()
        records = [record for record in self.records.values() if not record.status.ended]
        return [
            record.id
            for record in records
            if self._lease_state(record) is not LeaseState.NONE or record.status is Status.SUSPENDED
        ][:limit]

    async def void_lease(self, generation: Generation, *, returned: bool) -> bool:
        self._check_available()
        record = self.records.get(generation.id)
        if record is None or record.status.ended or record.external is None:
            return False
        external = self._with_lease(record).external
        if (record.attempt, record.writer) != (generation.attempt, generation.writer):
            return False
        if external is None or not external.lease_seconds or external.is_held is not returned:
            return False
        self.records[record.id] = msgspec.structs.replace(
            record,
            writer="",
            returns=record.returns + returned,
            external=msgspec.structs.replace(record.external, lease_seconds=0.0),
        )
        return True

    async def request_stop(self, generation: str, by: str) -> StopResult | None:
        self._check_available()
        record = self.records.get(generation)
        if record is None:
            return None
        if record.status.ended:
            return StopResult.ENDED
        self.records[generation] = msgspec.structs.replace(
            record, status=Status.STOPPING, stop_requested_by=record.stop_requested_by or by
        )
        return StopResult.STOPPING

    async def take_open(self, interval_seconds: float) -> list[OpenGeneration]:
        self._check_available()
        now = self._now()
        if 0 <= now - self._last_sweep < interval_seconds:
            return []
        self._last_sweep = now
        return [
            OpenGeneration(
                record.id,
                record.attempt,
                now - record.requested_at,
                bool(record.stop_requested_by),
                self._lease_state(record),
                is_suspended=record.status is Status.SUSPENDED,
                is_overdue=self._is_overdue(record, now),
                is_waiting=record.status is Status.WAITING,
            )
            for record in self.records.values()
            if not record.status.ended
        ]

    def count_received(self, generation: str) -> int:
        """Return how much users have sent to the producer of a generation."""
        return self.records[generation].received

    def apply(
        self, update: GenerationUpdate, data: bytes
    ) -> tuple[Outcome | None, str | None, InputAnswer | None]:
        """Apply the update that comes with an event.

        Return the outcome of a refusal, or None; who requested that the generation stops; and what
        is published after the event: the answer of an input that is asked for again.
        """
        record = self.records.get(update.generation)
        if record is None:
            return Outcome.NO_RECORD, None, None
        if update.kind is UpdateKind.BEGIN and record.waits and not record.status.ended:
            if self._open_before(record):
                return Outcome.STALE, record.stop_requested_by, None
            record = msgspec.structs.replace(record, waits=False)
        if isinstance(update.input, AnsweredInput):
            if self._is_too_late(record, update.input):
                return Outcome.EXPIRED, record.stop_requested_by, None
            answer = msgspec.structs.replace(update.input.answer, at=self._now())
            update = msgspec.structs.replace(update, input=AnsweredInput(update.input.key, answer))
        if isinstance(update.input, RequestedInput) and not self._may_suspend(record, update.input):
            unsuspended = msgspec.structs.replace(update.input, suspends=False)
            update = msgspec.structs.replace(update, input=unsuspended)
        updated = apply_update(self._with_lease(record), update, data)
        if isinstance(updated, Refusal):
            return Outcome(updated.value), record.stop_requested_by, None
        external = update.external
        if external is not None and external.lease_seconds is not None:
            self._lease_ends[record.id] = self._now() + external.lease_seconds
        updated = _with_moment(record, updated, update, self._now())
        self.records[update.generation] = updated
        requested = update.input.request.input if isinstance(update.input, RequestedInput) else ""
        known = updated.inputs.get(requested)
        return None, record.stop_requested_by, None if known is None else known.answer

    def _may_suspend(self, record: Generation, update: RequestedInput) -> bool:
        known = record.inputs.get(update.request.input)
        if update.max_suspended is None or (known is not None and known.answer is not None):
            return True
        others = [
            each
            for each in self.records.values()
            if (each.channel, each.user) == (record.channel, record.user)
            and each.status is Status.SUSPENDED
            and each.id != record.id
        ]
        return len(others) < update.max_suspended

    def _is_overdue(self, record: Generation, now: float) -> bool:
        if record.suspended is None:
            return False
        return now >= record.inputs[record.suspended].request.expires_at

    def _is_too_late(self, record: Generation, update: AnsweredInput) -> bool:
        requested = record.inputs.get(update.key)
        if record.status.ended or requested is None or requested.answer is not None:
            return False  # another refusal
        return not update.answer.is_expired and self._now() >= requested.request.expires_at

    def _with_lease(self, record: Generation) -> Generation:
        """Return the record with the state of its external producer's lease at this moment."""
        if record.external is None:
            return record
        is_void = not record.external.lease_seconds
        left = 0.0 if is_void else max(0.0, self._lease_ends[record.id] - self._now())
        external = msgspec.structs.replace(record.external, lease_left_seconds=left)
        return msgspec.structs.replace(record, external=external)

    def _lease_state(self, record: Generation) -> LeaseState:
        external = self._with_lease(record).external
        if external is None or not external.lease_seconds:
            return LeaseState.NONE
        return LeaseState.HELD if external.is_held else LeaseState.ENDED


def _summarize(record: Generation) -> GenerationSummary:
    request = record.request
    return GenerationSummary(
        id=record.id,
        status=record.status,
        attempt=record.attempt,
        deltas=record.deltas,
        requested_at=record.requested_at,
        model=request.model,
        upstream=request.upstream,
        chat=request.chat,
        metadata=request.metadata,
        end=record.end,
        topic=request.topic,
    )


def _with_moment(
    before: Generation, after: Generation, update: GenerationUpdate, now: float
) -> Generation:
    kinds = {UpdateKind.BEGIN: "begin", UpdateKind.END: "end"}
    kind = kinds.get(update.kind)
    if update.kind in (UpdateKind.DELTA, UpdateKind.REPLACE) and not before.deltas:
        kind = "delta"
    if kind is None:
        return after
    moment = msgspec.convert({"kind": kind, "attempt": after.attempt, "at": now}, type=Moment)
    return msgspec.structs.replace(after, moments=(*before.moments, moment))
