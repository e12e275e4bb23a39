"""What a user can do with generations: start, look, stop, restart. Any node serves any of them.

The work itself is a worker's (engine/worker.py); between the two stand the record, which lasts,
and the queue.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from hub.core.channel import Channel, partition_of, user_channel
from hub.core.cursor import Position
from hub.core.event import encode_json
from hub.core.generation import (
    Change,
    Generation,
    Question,
    Status,
    Step,
    StopAnswer,
    end_fields,
    new_generation_id,
)
from hub.core.job import Admission, Job
from hub.errors import Forbidden, NotFound, TooMany
from hub.ports import Broker, Created, GenerationQueue, GenerationStore, Outcome, Publication

_RETRY_AFTER_SECONDS: Final = 5


class Joined(NamedTuple):
    """Where a reader of an answer begins."""

    record: Generation
    cursor: Mapping[Channel, Position]
    snapshot: bool


class Generations:
    """The use cases of /generations. queue_of: of each upstream, where it is not `default`."""

    def __init__(
        self,
        broker: Broker,
        store: GenerationStore,
        queue: GenerationQueue,
        queue_of: Mapping[str, str] | None = None,
    ) -> None:
        self._queue_of = queue_of or {}
        self._broker = broker
        self._store = store
        self._queue = queue

    async def start(
        self, user: str, question: Question, idempotency_key: str | None = None
    ) -> Created:
        """Queues a question; the same user's same key finds the generation it started before."""
        fresh = new_generation_id(partition_of(user_channel(user)))
        wish = Generation(id=fresh, user=user, question=question, asked_at=time.time())
        created = await self._store.create(wish, idempotency_key)
        if created.new or await self._is_queued(created.generation):
            # Again when it may never have reached the queue; a job too many finds nothing to begin.
            admission = await self._queue.put(self._job(created.generation, user, question))
            if admission is not Admission.TAKEN:  # of a job that it has, the queue says TAKEN
                await self._store.discard(created.generation, user, idempotency_key)
                raise _refusal(admission)
        return created

    async def find(self, generation: str, user: str) -> Generation:
        """The record with the text so far. Raises NotFound, or Forbidden for another's."""
        found = await self._store.find(generation)
        if found is None:
            raise NotFound("there is no such generation, or it is no longer kept")
        if found.user != user:
            raise Forbidden("this generation belongs to another user")
        return found

    async def join(self, generation: str, user: str, cursor: Mapping[Channel, Position]) -> Joined:
        """Where a reader begins: after its cursor, if all since then can be had, else with what
        there is so far. Raises NotFound and Forbidden.
        """
        found = await self.find(generation, user)
        channel = user_channel(user)
        if channel in cursor:
            after = cursor[channel]
            pages = await self._broker.read({channel: after}, max_events=1, max_bytes=1)
            if pages[channel].lost is None:
                return Joined(found, {channel: after}, snapshot=False)
        snapshot = await self._store.snapshot(found)
        if snapshot is None:
            raise NotFound("there is no such generation, or it is no longer kept")
        record, position = snapshot
        return Joined(record, {channel: position}, snapshot=True)

    async def stop(self, generation: str, user: str) -> StopAnswer:
        """Stops it wherever it runs; one that is still queued ends here and never begins."""
        found = await self.find(generation, user)
        answer = await self._store.request_stop(generation, user)
        if answer is None:
            raise NotFound("there is no such generation, or it is no longer kept")
        if answer is StopAnswer.STOPPING and not await self._end_if_queued(found, user):
            await self._queue.announce_stop(generation)
        return answer

    async def restart(self, generation: str, user: str) -> Created:
        """Stops it if it has not ended, and asks the same question anew."""
        found = await self.find(generation, user)
        if not found.status.ended:
            await self.stop(generation, user)
        return await self.start(user, found.question)

    def _job(self, generation: str, user: str, question: Question) -> Job:
        queue = self._queue_of.get(question.upstream, "default")
        return Job(generation, user, question.upstream, queue)

    async def _is_queued(self, generation: str) -> bool:
        found = await self._store.find(generation)
        return found is not None and found.status is Status.QUEUED

    async def _end_if_queued(self, generation: Generation, by: str) -> bool:
        """Whether it ended here. The broker refuses the step once a worker has begun."""
        if generation.status is not Status.QUEUED:
            return False
        waited = max(0.0, time.time() - generation.asked_at) if generation.asked_at else 0.0
        data = end_fields(
            {"generation": generation.id, "by": by},
            deltas=0,
            queued_seconds=waited,
            first_delta_seconds=None,
            total_seconds=waited,
        )
        (published,) = await self._broker.publish(
            [
                Publication(
                    channel=user_channel(generation.user),
                    name="generation.stopped",
                    data=encode_json(data),
                    step=Step(generation.id, 0, Change.END, Status.STOPPED),
                )
            ]
        )
        await self._queue.withdraw(self._job(generation.id, generation.user, generation.question))
        return published.outcome is Outcome.WRITTEN


def _refusal(admission: Admission) -> TooMany:
    whose = "you have" if admission is Admission.USER_FULL else "this upstream has"
    return TooMany(
        f"{whose} too many questions waiting",
        limit=f"questions_{admission.value}",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )
