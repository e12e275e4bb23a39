"""The records of generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from hub.core.cursor import Position
from hub.core.event import digest
from hub.core.generation import Generation, GenerationRequest, StopResult
from hub.error_codes import IDEMPOTENCY_KEY_REUSED
from hub.errors import Conflict


class CreatedGeneration(msgspec.Struct, frozen=True):
    """The result of creating a generation.

    position: the position in the user's channel just before its first event.
    new: False when the idempotency key had created it before.
    """

    generation: str
    position: Position
    new: bool


class OpenGeneration(NamedTuple):
    """A generation that has not ended.

    attempt: 0 before a worker has started it. age_seconds: as in Generation. stop_requested:
    whether a stop was requested.
    """

    id: str
    attempt: int
    age_seconds: float
    stop_requested: bool


def request_digest(request: GenerationRequest) -> str:
    """Return a digest that is the same for a repeated request; its trace does not count."""
    return digest(msgspec.json.encode(msgspec.structs.replace(request, trace="")))


def key_reused() -> Conflict:
    """Return the error of an idempotency key that has created a generation for another request."""
    return Conflict(
        "this idempotency key was used for another request",
        code=IDEMPOTENCY_KEY_REUSED,
        path="id",
    )


class GenerationStore(Protocol):
    """The records of generations. Every method is atomic and raises BrokerUnavailable.

    A record changes in the same atomic step as the event that carries the update
    (EventWriter.publish), so store and event log belong to one backend.
    """

    async def create(
        self, generation: Generation, idempotency_key: str | None
    ) -> CreatedGeneration:
        """Store a record and take the position of the user's channel, or find the earlier record.

        The store sets `requested_at` by its own clock.
        idempotency_key: None always creates a record; the same key of a user creates one only.
        Raise Conflict when the key has created a record for another request.
        """
        ...

    async def find(self, generation: str) -> Generation | None:
        """Return the record with the parts so far; None when there is no such record."""
        ...

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        """Return the record and the head of its user's channel at the same moment.

        The parts contain every event up to that position, and none after it. None when there is no
        such record.
        """
        ...

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        """Return the newest generation of a user's chat, if its record exists."""
        ...

    async def discard(
        self, generation: str, user: str, idempotency_key: str | None, chat: str | None
    ) -> None:
        """Delete a generation whose job was refused, and its idempotency key, unless it has begun.

        The newest generation of its chat is the previous one again.
        """
        ...

    async def delete(self, generation: str) -> bool:
        """Delete the record of a generation that has ended; one that is gone stays so.

        Return False for a generation that has not ended; it is not changed.
        """
        ...

    async def stop_requested_by(self, generation: str) -> str | None:
        """Return who requested that the generation stops; None when nobody did."""
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
