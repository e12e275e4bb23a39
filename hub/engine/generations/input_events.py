"""The events of inputs that concern more than the channel of the answer.

The approvers of an input get its request and its end in their own channels. These events belong to
other slots than the record, so they come after the step that changes it. Whoever finds that step
done publishes them again, because the process that did it may have been lost. They have idempotency
keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.core.channel import user_channel
from hub.core.event import digest, encode_json
from hub.core.generation import Generation, GenerationUpdate, UpdateKind
from hub.core.inputs import (
    INPUT_EXPIRED,
    INPUT_RECEIVED,
    INPUT_REQUESTED,
    AnsweredInput,
    InputAnswer,
    InputRequest,
    StoredInput,
)
from hub.core.push_job import input_deliveries
from hub.ports.events import EventWriter, Outcome, Publication


def received(generation: str, request: InputRequest, value: Any, by: str) -> InputAnswer:
    """Return the value that a user gives, with the digest of what was shown."""
    shown = {"prompt": request.prompt, "options": request.options, "schema": request.schema}
    fields = {"generation": generation, "input": request.input, "value": value, "by": by}
    return InputAnswer(
        event=INPUT_RECEIVED,
        data=encode_json(fields),
        digest=digest(msgspec.json.encode(shown)),
    )


def expired(generation: str, key: str) -> InputAnswer:
    """Return that nobody has given a value in time."""
    return InputAnswer(
        event=INPUT_EXPIRED, data=encode_json({"generation": generation, "input": key})
    )


async def publish_request(events: EventWriter, record: Generation, request: InputRequest) -> None:
    """Publish the request of an input to its approvers. Raise BrokerUnavailable."""
    fields = {"generation": record.id, **request.fields, "user": record.user}
    event = INPUT_REQUESTED, encode_json(fields)
    await _publish_to_approvers(events, record, request, event, "asked")


async def publish_answer(
    events: EventWriter, record: Generation, request: InputRequest, answer: InputAnswer
) -> Outcome:
    """Store and publish what has become of an input, also to its approvers.

    Return whether it counts: WRITTEN, or why it is refused. Raise BrokerUnavailable.
    """
    update = GenerationUpdate(
        record.id, record.attempt, UpdateKind.INPUT, input=AnsweredInput(request.input, answer)
    )
    publication = Publication(
        channel=record.channel, name=answer.event, data=answer.data, update=update
    )
    (published,) = await events.publish([publication])
    if published.outcome is Outcome.WRITTEN:
        await show_answer(events, record, request, answer)
    return published.outcome


async def end_overdue(
    events: EventWriter,
    record: Generation,
    inputs: Mapping[str, StoredInput],
    now: float,
) -> bool:
    """End the inputs of the newest attempt whose time is over at `now`, in Unix seconds.

    inputs: those of the record, by key. Return whether there are any. Raise BrokerUnavailable.
    """
    overdue = [
        each.request
        for each in inputs.values()
        if each.answer is None and each.attempt == record.attempt and each.request.expires_at <= now
    ]
    for request in overdue:
        await publish_answer(events, record, request, expired(record.id, request.input))
    return bool(overdue)


async def show_answer(
    events: EventWriter, record: Generation, request: InputRequest, answer: InputAnswer
) -> None:
    """Publish what has become of an input to its approvers. Raise BrokerUnavailable.

    answer: the one that counts.
    """
    await _publish_to_approvers(events, record, request, (answer.event, answer.data), "ended")


async def close_requests(events: EventWriter, record: Generation) -> None:
    """Tell the approvers of the inputs that still wait that the answer has ended.

    Raise BrokerUnavailable.
    """
    for key, each in record.inputs.items():
        if each.answer is None:
            await show_answer(events, record, each.request, expired(record.id, key))


async def _publish_to_approvers(
    events: EventWriter,
    record: Generation,
    request: InputRequest,
    event: tuple[str, bytes],
    what: str,
) -> None:
    publications = [
        Publication(
            channel=user_channel(user),
            name=event[0],
            data=event[1],
            idempotency_key=f"{record.id}/input_{what}/{request.input}",
            deliveries=input_deliveries(record, request, user) if what == "asked" else (),
        )
        for user in request.approvers
        if user_channel(user) != record.channel
    ]
    if publications:
        await events.publish(publications)
