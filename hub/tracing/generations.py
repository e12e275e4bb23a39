"""Generations that carry their trace: the record keeps the `traceparent` of the request, so that
the worker continues the same trace.
"""

from __future__ import annotations

import msgspec

from hub.core.generation import Generation, OnBusy
from hub.ports.generations import CreatedGeneration, GenerationStore
from hub.tracing.propagation import request_trace


class TracedGenerationStore:
    """Implements ports.generations.GenerationStore around another; only `create` differs."""

    def __init__(self, store: GenerationStore) -> None:
        self.find = store.find
        self.snapshot = store.snapshot
        self.find_input = store.find_input
        self.newest_of_chat = store.newest_of_chat
        self.next_of_chat = store.next_of_chat
        self.list_of_user = store.list_of_user
        self.steer = store.steer
        self.steering_of = store.steering_of
        self.discard = store.discard
        self.delete = store.delete
        self.list_kept = store.list_kept
        self.erase = store.erase
        self.stop_requested_by = store.stop_requested_by
        self.request_stop = store.request_stop
        self.void_lease = store.void_lease
        self.list_leased_or_suspended = store.list_leased_or_suspended
        self.take_open = store.take_open
        self._create = store.create

    async def create(
        self,
        generation: Generation,
        idempotency_key: str | None,
        on_busy: OnBusy = OnBusy.ALLOW,
    ) -> CreatedGeneration:
        # Also when there is no trace: a restarted generation has the trace of its first request.
        request = msgspec.structs.replace(generation.request, trace=request_trace())
        return await self._create(
            msgspec.structs.replace(generation, request=request), idempotency_key, on_busy
        )
