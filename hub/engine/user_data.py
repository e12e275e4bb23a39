"""Erasure and export of everything that the hub keeps about a user.

    stop the answers ─> wait until they have ended ─> erase each kind of data, the events last

Each kind is a `UserData` (ports/user_data.py); user_data_kinds.py has those of a backend's stores.

Rules:
1. Nothing of a user is written after its erasure because of what was there before: the answers have
   ended, and no worker has their jobs, before the first record is erased.
2. An erasure that was interrupted is repeated: each step may happen twice.
3. The export holds one item in memory at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from hub.core.event import encode_json
from hub.core.generation import Status
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.error_codes import ANSWERS_NOT_ENDED
from hub.errors import Conflict, NotFound
from hub.ports.clock import Clock
from hub.ports.generations import MAX_LISTED_PER_USER, GenerationFilter, GenerationStore
from hub.ports.queue import GenerationQueue
from hub.ports.user_data import UserData

_STOP_SECONDS: Final = 10.0  # then the answers are ended here, because their worker may be lost
_END_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05


class UserDataRegistry:
    """All kinds of data about users. kinds: in the order in which they are erased."""

    def __init__(self, kinds: Sequence[UserData], answers: AnswerStopper) -> None:
        self._kinds = kinds
        self._answers = answers

    async def erase(self, user: str) -> None:
        """Stop the answers of a user, and erase everything that is kept about the user.

        Raise BrokerUnavailable; then a part may be erased, and the call is to be repeated. Raise
        Conflict when the answers do not end; then nothing is erased.
        """
        await self._answers.stop_all(user)
        for kind in self._kinds:
            await kind.erase(user)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        """Yield a JSON object in parts: `user`, an array for each kind, and last `complete`.

        Raise BrokerUnavailable; without `complete`, the export is not complete.
        """
        yield b'{"user":' + encode_json(user)
        for kind in self._kinds:
            yield b"," + encode_json(kind.name) + b":["
            separator = b""
            async for item in kind.export(user):
                yield separator + item
                separator = b","
            yield b"]"
        yield b',"complete":true}\n'


class AnswerStopper:
    """Stops all answers of a user, and waits until they have ended."""

    def __init__(
        self,
        generations: Generations,
        store: GenerationStore,
        jobs: GenerationJobs,
        queue: GenerationQueue,
        clock: Clock,
    ) -> None:
        self._generations = generations
        self._store = store
        self._jobs = jobs
        self._queue = queue
        self._clock = clock

    async def stop_all(self, user: str) -> None:
        """Return when the answers of a user have ended and no worker has their jobs.

        Raise BrokerUnavailable, and Conflict when they do not end.
        """
        started_at = self._clock.now()
        running = await self._list_running(user)
        while running:
            waited = self._clock.now() - started_at
            if waited > _END_SECONDS:
                raise Conflict(
                    f"{len(running)} answers of this user have not ended yet; try again",
                    code=ANSWERS_NOT_ENDED,
                )
            is_late = waited > _STOP_SECONDS
            running = [each for each in running if await self._stop(each, is_late=is_late)]
            if running:
                await self._clock.sleep(_POLL_SECONDS)

    async def _list_running(self, user: str) -> list[str]:
        """Return the answers of a user that may not have ended."""
        listed = await self._store.list_of_user(user, GenerationFilter(limit=MAX_LISTED_PER_USER))
        ended = {each.id for each in listed if each.status.ended}
        return [each for each in await self._store.list_kept(user) if each not in ended]

    async def _stop(self, generation: str, *, is_late: bool) -> bool:
        """Stop an answer. Return whether it must be looked at again.

        is_late: end it here, whoever attends to it; a worker that holds its job may be lost.
        """
        record = await self._store.find(generation)
        if record is None:
            return False
        if record.status.ended:
            (job,) = await self._queue.job_states([generation])
            return job is not None and not is_late
        if is_late:
            await self._jobs.end(record, Status.STOPPED, {"by": record.user})
        elif record.stop_requested_by is None:
            with suppress(NotFound):  # it may have expired meanwhile
                await self._generations.stop(generation, record.user)
        return True
