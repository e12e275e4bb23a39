"""The records of generations."""

from __future__ import annotations

from typing import Protocol

import msgspec

from hub.core.cursor import Position
from hub.core.generation import Generation, StopResult


class CreatedGeneration(msgspec.Struct, frozen=True):
    """The answer to a wish for a generation: its id, the position in the user's channel just
    before its first event, and whether it is new (or was there under the same key).
    """

    generation: str
    position: Position
    new: bool


class GenerationStore(Protocol):
    """Generations' records, beside the log of their user. Raises BrokerUnavailable."""

    async def create(
        self, generation: Generation, idempotency_key: str | None
    ) -> CreatedGeneration:
        """Stores the record, or finds the one that this user made with the same key."""
        ...

    async def find(self, generation: str) -> Generation | None:
        """The record with the text so far."""
        ...

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        """The record now, and where its user's channel stands at that moment: what is published
        after it is not in the text, and everything before is.
        """
        ...

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        """The generation that was made last of the questions with this `chat`, if it is kept."""
        ...

    async def discard(
        self, generation: str, user: str, idempotency_key: str | None, chat: str | None
    ) -> None:
        """Forgets one that nobody was told of, unless it has begun all the same; its chat's newest
        is the one before again.
        """
        ...

    async def stop_requested_by(self, generation: str) -> str | None:
        """Who has wished that it stops."""
        ...

    async def request_stop(self, generation: str, by: str) -> StopResult | None:
        """Leaves the wish in the record, where it lasts; None when there is no such record."""
        ...
