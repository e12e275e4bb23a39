"""What users do with the inputs of a running answer: they give the values. Every node takes them.

The store decides which value counts (core/inputs.py). The worker whose function waits gets a
notice. A suspended answer gets a job instead, which starts its next attempt.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from hub.core.generation import Generation, Status
from hub.core.input_schema import InvalidSchema, InvalidValue, check_value
from hub.core.inputs import InputAnswer, InputRequest
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import generation_not_found
from hub.engine.generations.input_events import expired, publish_answer, received, show_answer
from hub.error_codes import (
    ENDED,
    GENERATION_FORBIDDEN,
    INPUT_ANSWERED,
    INPUT_EXPIRED,
    INPUT_INVALID,
    INPUT_UNKNOWN,
)
from hub.errors import BadRequest, BrokerUnavailable, Conflict, Forbidden, InputConflict, NotFound
from hub.ports.events import EventWriter, Outcome
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue

_MAX_REFUSALS: Final = 10  # of one call; each one means that somebody else was faster


class Inputs:
    """Takes the values of inputs."""

    def __init__(
        self,
        events: EventWriter,
        store: GenerationStore,
        queue: GenerationQueue,
        jobs: GenerationJobs,
    ) -> None:
        self._events = events
        self._store = store
        self._queue = queue
        self._jobs = jobs

    async def answer(self, generation: str, key: str, value: Any, user: str) -> InputAnswer:
        """Give the value of an input, and return the one that counts. value: JSON.

        The same value may be given again. Raise NotFound, Forbidden, BadRequest for a value that
        the request does not allow, Conflict when another one counts or the time is over,
        BrokerUnavailable.
        """
        is_shown = False
        for _ in range(_MAX_REFUSALS):
            record, request, answer = await self._read(generation, key, user)
            if answer is not None:
                if not is_shown:
                    await show_answer(self._events, record, request, answer)
                if key == record.suspended:
                    await self._go_on(record)
                return _check_same(answer, value)
            if record.status.ended:
                raise Conflict("this answer has ended", code=ENDED, generation=generation)
            await asyncio.to_thread(_check_value, request, value)
            given = received(generation, request, value, user)
            outcome = await publish_answer(self._events, record, request, given)
            if outcome is Outcome.EXPIRED:
                end = expired(generation, key)
                outcome = await publish_answer(self._events, record, request, end)
            if outcome is Outcome.WRITTEN:
                is_shown = True
                await self._queue.broadcast_notice(generation)
        raise BrokerUnavailable("other requests kept changing the same answer")

    async def _go_on(self, record: Generation) -> None:
        """Do what it means that the input of a suspended answer waits no longer.

        A repetition does no harm.
        """
        if record.status is Status.QUEUED:
            await self._jobs.resume(record)
        elif record.status is Status.SUSPENDED:
            await self._jobs.end_unanswered(record)

    async def _read(
        self, generation: str, key: str, user: str
    ) -> tuple[Generation, InputRequest, InputAnswer | None]:
        """Return the record, the request and its answer. Raise NotFound, Forbidden."""
        record = await self._store.find(generation)
        if record is None:
            raise generation_not_found()
        stored = record.inputs.get(key)
        is_approver = stored is not None and user in stored.request.approvers
        if record.user != user and not is_approver:
            raise Forbidden("this generation belongs to another user", code=GENERATION_FORBIDDEN)
        if stored is None:
            raise NotFound("the answer has not asked for this input", code=INPUT_UNKNOWN)
        return record, stored.request, stored.answer


def _check_same(answer: InputAnswer, value: Any) -> InputAnswer:
    """Return the answer that counts if it is this value. Raise Conflict."""
    if answer.is_expired:
        raise Conflict("nobody has given the value in time", code=INPUT_EXPIRED)
    counted = answer.fields
    if not _is_same(counted["value"], value):
        raise InputConflict(
            f"another value counts, which {counted['by']} has given",
            code=INPUT_ANSWERED,
            value=counted["value"],
            by=counted["by"],
        )
    return answer


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON; true is not 1."""
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def _check_value(request: InputRequest, value: Any) -> None:
    """Raise BadRequest for a value that the request does not allow."""
    if request.options is not None and value not in request.options:
        options = ", ".join(request.options)
        raise BadRequest(f"the value must be one of {options}", code=INPUT_INVALID, path="value")
    if request.schema is None:
        return
    try:
        check_value(request.schema, value)
    except InvalidValue as error:
        path = f"value.{error.path}" if error.path else "value"
        raise BadRequest(str(error), code=INPUT_INVALID, path=path) from None
    except InvalidSchema as error:
        detail = f"the application has asked with a wrong schema: {error}"
        raise BadRequest(detail, code=INPUT_INVALID, path="value") from None
