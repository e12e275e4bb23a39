"""The job of a generation in the queue, and the end of a generation that no worker attends to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.core.channel import user_channel
from hub.core.event import encode_json
from hub.core.fair_queue import DEFAULT_QUEUE, Admission, Job
from hub.core.generation import (
    Generation,
    GenerationUpdate,
    Status,
    UpdateKind,
    build_end_fields,
)
from hub.ports.events import EventWriter, Outcome, Publication
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue


class GenerationJobs:
    """Adds and removes the jobs of generations.

    queues: the queue of each upstream, by name; the others use `default`.
    """

    def __init__(
        self,
        events: EventWriter,
        store: GenerationStore,
        queue: GenerationQueue,
        queues: Mapping[str, str] | None = None,
    ) -> None:
        self._events = events
        self._store = store
        self._queue = queue
        self._queues = queues or {}

    async def add(self, record: Generation) -> Admission:
        """Add the job of a generation, unless it has one. Raise BrokerUnavailable."""
        return await self._queue.enqueue(self._job(record))

    async def add_again(self, record: Generation) -> None:
        """Add the job of a generation that has lost it. Raise BrokerUnavailable."""
        await self._queue.requeue(self._job(record))

    async def end(self, record: Generation, status: Status, fields: dict[str, Any]) -> bool:
        """End a generation that no worker attends to, and remove its job.

        record: as it was read. The broker refuses the end when a worker has started an attempt
        since then. fields: those of this kind of end.
        Return whether the generation ended here. Raise BrokerUnavailable.
        """
        seconds = max(0.0, record.age_seconds)
        data = build_end_fields(
            {"generation": record.id, **fields},
            deltas=record.deltas,
            queued_seconds=seconds,
            first_delta_seconds=None,
            total_seconds=seconds,
        )
        update = GenerationUpdate(
            record.id,
            record.attempt,
            UpdateKind.END,
            status,
            index=record.deltas,
            writer=record.writer,
        )
        end = Publication(
            channel=user_channel(record.user),
            name=f"generation.{status.value}",
            data=encode_json(data),
            update=update,
        )
        (published,) = await self._events.publish([end])
        if published.outcome in (Outcome.STALE, Outcome.GAP):
            return False
        await self._queue.withdraw(self._job(record))
        await self.add_next(record)
        return published.outcome is Outcome.WRITTEN

    async def add_next(self, record: Generation) -> None:
        """Add the job of the generation that waited for the end of this one, if there is one.

        Raise BrokerUnavailable; then the reconciler adds it.
        """
        if record.request.chat is None:
            return
        generation = await self._store.next_of_chat(record.user, record.request.chat)
        following = None if generation is None else await self._store.find(generation)
        if following is not None and not following.status.ended:
            await self.add_again(following)

    def _job(self, record: Generation) -> Job:
        queue = self._queues.get(record.request.upstream, DEFAULT_QUEUE)
        return Job(record.id, record.user, record.request.upstream, queue)
