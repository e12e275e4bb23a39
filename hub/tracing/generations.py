"""Questions that carry their trace: the record in Redis keeps who asked, for the worker."""

from __future__ import annotations

import msgspec

from hub.core.cursor import Position
from hub.core.generation import Generation, StopResult
from hub.ports.generations import CreatedGeneration, GenerationStore
from hub.tracing.propagation import question_trace


class TracedGenerationStore:
    """Implements ports.GenerationStore by another."""

    def __init__(self, store: GenerationStore) -> None:
        self._store = store

    async def create(
        self, generation: Generation, idempotency_key: str | None
    ) -> CreatedGeneration:
        # Also when there is no trace: the question may be an earlier one, asked again.
        question = msgspec.structs.replace(generation.request, trace=question_trace())
        return await self._store.create(
            msgspec.structs.replace(generation, question=question), idempotency_key
        )

    async def find(self, generation: str) -> Generation | None:
        return await self._store.find(generation)

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        return await self._store.snapshot(generation)

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        return await self._store.newest_of_chat(user, chat)

    async def discard(
        self, generation: str, user: str, idempotency_key: str | None, chat: str | None
    ) -> None:
        await self._store.discard(generation, user, idempotency_key, chat)

    async def stop_requested_by(self, generation: str) -> str | None:
        return await self._store.stop_requested_by(generation)

    async def request_stop(self, generation: str, by: str) -> StopResult | None:
        return await self._store.request_stop(generation, by)
