"""The records of generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.event import digest
from hub.core.external_producer import LeaseState
from hub.core.generation import Generation, GenerationRequest, OnBusy, Status, StopResult
from hub.core.inputs import StoredInput
from hub.core.steering import MAX_STEERING_BYTES, MAX_STEERING_MESSAGES, SteeringMessage
from hub.error_codes import (
    CHAT_BUSY,
    ENDED,
    IDEMPOTENCY_KEY_REUSED,
    NOT_STEERABLE,
    STEERING_FULL,
    TOO_MANY_GENERATIONS,
)
from hub.errors import Conflict, TooManyRequests

MAX_OPEN_PER_CHAT: Final = 1000
MAX_LISTED_PER_USER: Final = 1000
MAX_KEPT_PER_USER: Final = 10_000
"""How many records of a user can be found by the user, ended ones that exist included."""


class CreatedGeneration(msgspec.Struct, frozen=True):
    """The result of creating a generation.

    position: the position in its channel just before its first event.
    new: False when the idempotency key had created it before. waits: whether it may not begin yet,
    so that it gets no job. stopped: the generations of its chat that were asked to stop for it.
    steered: the number of the message that an earlier generation of its chat has got instead, whose
    id this then is; the position is just before `generation.steered`. None otherwise.
    """

    generation: str
    position: Position
    new: bool
    waits: bool = False
    stopped: Sequence[str] = ()
    steered: int | None = None


class GenerationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A generation as lists show it. The fields mean the same as in Generation and its request."""

    id: str
    status: Status
    attempt: int
    deltas: int
    requested_at: float
    model: str
    upstream: str
    chat: str | None
    metadata: dict[str, Any]
    end: dict[str, Any]
    topic: str | None = None


class GenerationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which generations of a user a list has.

    chat, status: None means any. before: the id of the generation before which the list begins.
    """

    limit: int
    chat: str | None = None
    status: Status | None = None
    before: str | None = None


class FoundInput(msgspec.Struct, frozen=True, kw_only=True):
    """An input of a generation. user, status: those of the generation. stored: None if its producer
    has not asked for it.
    """

    user: str
    status: Status
    stored: StoredInput | None


class OpenGeneration(NamedTuple):
    """A generation that has not ended.

    attempt: 0 before a worker has started it. age_seconds: as in Generation. stop_requested:
    whether a stop was requested. lease: that of an external producer. is_suspended: whether it
    waits for a value without an attempt; is_overdue: whether the time for the value is over for
    which it is or was suspended. is_waiting: whether its newest attempt goes on and waits for a
    value.
    """

    id: str
    attempt: int
    age_seconds: float
    stop_requested: bool
    lease: LeaseState = LeaseState.NONE
    is_suspended: bool = False
    is_overdue: bool = False
    is_waiting: bool = False


def request_digest(request: GenerationRequest) -> str:
    """Return a digest that is the same for a repeated request; its trace does not count."""
    return digest(msgspec.json.encode(msgspec.structs.replace(request, trace="")))


def steering_digest(message: bytes) -> str:
    """Return a digest that is the same for a repeated message. message: JSON."""
    return digest(message)


def key_reused() -> Conflict:
    """Return the error of an idempotency key that has created a generation for another request."""
    return Conflict(
        "this idempotency key was used for another request",
        code=IDEMPOTENCY_KEY_REUSED,
        path="id",
    )


def chat_busy(running: str) -> Conflict:
    """Return the error of `reject`. running: the answer that has not ended."""
    return Conflict(
        f"an answer of this chat has not ended: {running}",
        code=CHAT_BUSY,
        path="on_busy",
        generation=running,
    )


def generation_ended(generation: str) -> Conflict:
    """Return the error of a message for an answer that has ended, or is about to stop."""
    return Conflict("this answer has ended", code=ENDED, generation=generation)


def not_steerable(generation: str) -> Conflict:
    """Return the error of a message for an answer whose producer takes none."""
    return Conflict(
        "an LLM endpoint gives this answer, and takes no messages while it does",
        code=NOT_STEERABLE,
        generation=generation,
    )


def steering_full(generation: str) -> Conflict:
    """Return the error of a message for an answer that has as many as it may have."""
    return Conflict(
        f"this answer takes no more messages: at most {MAX_STEERING_MESSAGES}, and "
        f"{MAX_STEERING_BYTES} bytes of all",
        code=STEERING_FULL,
        generation=generation,
    )


def chat_full() -> TooManyRequests:
    """Return the error of `enqueue` and `interrupt` for a chat with too many open answers."""
    return TooManyRequests(
        f"{MAX_OPEN_PER_CHAT} answers of this chat have not ended; try again later",
        code=TOO_MANY_GENERATIONS,
        limit="questions_chat",
        retry_after_seconds=5,
    )


class GenerationStore(Protocol):
    """The records of generations. Every method is atomic and raises BrokerUnavailable.

    A record changes in the same atomic step as the event that carries the update
    (EventWriter.publish), so store and event log belong to one backend.
    """

    async def create(
        self,
        generation: Generation,
        idempotency_key: str | None,
        on_busy: OnBusy = OnBusy.ALLOW,
    ) -> CreatedGeneration:
        """Store a record and take the position of its channel, or find the earlier record.

        The store sets `requested_at` by its own clock.
        idempotency_key: None always creates a record; the same key of a user in a channel creates
        one only while that record exists.
        on_busy: what happens when the chat of the request has a generation that has not ended. A
        generation that waits (CreatedGeneration.waits) cannot begin before the others have ended. A
        user interrupts and steers only own generations: with an open one of another user the chat
        is busy. With STEER the request has a message of the user.
        A second call with the same generation changes nothing.
        Raise Conflict when the key has created a record for another request, when the chat is busy,
        or when its generation takes no messages, or no more; TooManyRequests when MAX_OPEN_PER_CHAT
        of the chat have not ended.
        """
        ...

    async def steer(
        self, generation: Generation, message: bytes, by: str, idempotency_key: str | None
    ) -> tuple[int, bool] | None:
        """Store a message for a generation (core/steering.py), and publish `generation.steered`.

        generation: as it was read. message: JSON. by: the user who sends it.
        Return the number of the message, and whether this call has stored it; None when there is no
        such record. Raise Conflict when the key was used with another message, or the generation
        has ended, takes no messages, or no more.
        """
        ...

    async def steering_of(self, generation: str) -> Sequence[SteeringMessage]:
        """Return the messages for a generation so far; none without a record."""
        ...

    async def next_of_chat(self, channel: Channel, chat: str) -> str | None:
        """Return the generation of a channel's chat that waited and may begin now, None if there is
        none.
        """
        ...

    async def list_of_user(self, user: str, which: GenerationFilter) -> Sequence[GenerationSummary]:
        """Return generations of a user whose records exist, newest first, also those of topics.

        The newest MAX_LISTED_PER_USER are looked at.
        """
        ...

    async def find(self, generation: str) -> Generation | None:
        """Return the record with the parts so far; None when there is no such record."""
        ...

    async def find_input(self, generation: str, key: str) -> FoundInput | None:
        """Return an input without the parts of its generation; None without a record.

        It is answered by an update of the record (core/inputs.py).
        """
        ...

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        """Return the record and the head of its channel at the same moment.

        The parts contain every event up to that position, and none after it. None when there is no
        such record.
        """
        ...

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        """Return the newest generation of a chat in the user's channel, if its record exists."""
        ...

    async def discard(self, generation: Generation, idempotency_key: str | None) -> None:
        """Delete a generation whose job was refused, and its idempotency key, unless it has begun.

        The newest generation of its chat is the previous one again.
        """
        ...

    async def delete(self, generation: str) -> bool:
        """Delete the record of a generation that has ended, and its idempotency keys; one that is
        gone stays so. The newest generation of its chat is the previous one again.

        Return False for a generation that has not ended; it is not changed.
        """
        ...

    async def erase(self, user: str) -> None:
        """Delete all records of a user, also those of topics and those that have not ended, with
        everything that belongs to them: parts, inputs, messages, idempotency keys, and their places
        in chats and lists.
        """
        ...

    async def list_kept(self, user: str) -> Sequence[str]:
        """Return the generations of a user whose records may exist, newest first: those that
        `list_of_user` looks at, and older ones up to MAX_KEPT_PER_USER.
        """
        ...

    async def stop_requested_by(self, generation: str) -> str | None:
        """Return who requested that the generation stops; None when nobody did."""
        ...

    async def list_leased_or_suspended(self, limit: int) -> Sequence[str]:
        """Return at most `limit` generations that external producers hold or have held, and
        suspended ones: no worker has a job of them.
        """
        ...

    async def void_lease(self, generation: Generation, *, returned: bool) -> bool:
        """Void the lease of an external producer, so that another one can claim the job.

        generation: as it was read. returned: whether the producer gives it back; then its attempt
        is no loss (Generation.losses). Otherwise the lease must have ended.
        Return False, and change nothing, if another attempt has begun or the generation has ended.
        """
        ...

    async def request_stop(self, generation: str, by: str) -> StopResult | None:
        """Store a stop request in the record; the first one is kept.

        Return None when there is no such record.
        """
        ...

    async def take_open(self, interval_seconds: float) -> Sequence[OpenGeneration]:
        """Return generations that have not ended, those first that were returned longest ago.

        Of all processes, one gets them in each interval; the others get none. A backend may return
        a part of them at a time.
        """
        ...
