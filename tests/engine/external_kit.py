"""Nodes with one Valkey, for the tests of external producers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hub.core.channel import user_channel
from hub.core.external_producer import EXTERNAL
from hub.core.folded_parts import FoldedParts
from hub.core.generation import Generation, GenerationRequest
from hub.core.parts import Part, Text
from hub.core.parts_journal import PartsLimits
from hub.core.posted_parts import PostedPart
from hub.engine.attempts.attempt import GenerationResult
from hub.engine.external.external_producers import ExternalProducers, StartedAttempt
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.engine.generations.reconciler import Reconciler, ReconcilerTimes
from hub.engine.tasks import SystemClock
from hub.ports.backend import Backend
from hub.ports.events import FROM_START

ALICE = user_channel("alice")
REQUEST = GenerationRequest([], upstream=EXTERNAL, model="m", producer=EXTERNAL)
LIMITS = PartsLimits(max_part_bytes=1000, max_record_bytes=2_000_000)
LEASE_SECONDS = 30.0


class Node:
    """What a node has for external producers."""

    def __init__(self, backend: Backend, retries: Mapping[str, int] | None = None) -> None:
        self.backend = backend
        self.results: list[GenerationResult] = []
        self.jobs = GenerationJobs(
            backend.events, backend.generations, backend.queue, on_result=self._on_result
        )
        clock = SystemClock()
        self.producers = ExternalProducers(
            backend.events, backend.generations, self.jobs, clock, limits=LIMITS
        )
        self.generations = Generations(
            backend.events, backend.generations, backend.queue, jobs=self.jobs
        )
        times = ReconcilerTimes(lease_seconds=0.003, max_queued_seconds=60)
        self.reconciler = Reconciler(self.jobs, backend.generations, backend.queue, clock, times)

    async def _on_result(self, result: GenerationResult) -> None:
        self.results.append(result)

    async def begin(
        self, key: str | None = None, *, lease_seconds: float = LEASE_SECONDS
    ) -> StartedAttempt:
        return await self.producers.start("alice", REQUEST, key, lease_seconds=lease_seconds)

    async def record(self, generation: str) -> Generation:
        record = await self.backend.generations.find(generation)
        assert record is not None
        return record

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return all events of alice, with their data."""
        pages = await self.backend.events.read(
            {ALICE: FROM_START}, max_events=10_000, max_bytes=10**8
        )
        return [(event.name, json.loads(event.data)) for event in pages[ALICE].events]


def texts(first: int, *words: str) -> list[PostedPart]:
    return [PostedPart(n, Text(word)) for n, word in enumerate(words, start=first)]


def numbered(parts: Sequence[Part]) -> list[PostedPart]:
    return [PostedPart(n, part) for n, part in enumerate(parts)]


def folded(events: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what a reader of all events has, who checks their numbers."""
    fold, following = FoldedParts(), 0
    for name, data in events:
        if name in ("generation.started", "generation.restarted"):
            fold, following = FoldedParts(), 0
        elif "i" in data:
            assert data["i"] == following
            following += 1
        elif "deltas" in data:
            assert data["deltas"] == following
        fold.apply(name, data)
    return fold.parts
