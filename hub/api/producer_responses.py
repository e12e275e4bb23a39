"""What external producers are told, the same over HTTP and gRPC: attempts, posts and jobs."""

from __future__ import annotations

from typing import Any

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position, format_cursor
from hub.core.durable import DurableState
from hub.core.inputs import ReceivedInput, fold_inputs, list_received
from hub.core.messages import last_prompt
from hub.core.steering import SteeringMessage
from hub.engine.external.external_producers import PostResult, StartedAttempt


class AttemptResponse(msgspec.Struct, frozen=True):
    """`lease` is the secret that posts of this attempt send. `cursor` is the position just before
    the first event of the answer. A new attempt at an answer also has `previous`, the folded parts
    up to the newest checkpoint, its value as `checkpoint`, `inputs`, and `steering`, the messages
    of the user so far; `steering_taken` of them had been taken when the checkpoint was saved.
    """

    generation: str
    attempt: int
    lease: str
    lease_seconds: float
    cursor: str
    previous: list[dict[str, Any]] | msgspec.UnsetType | None = msgspec.UNSET
    checkpoint: Any = msgspec.UNSET
    inputs: list[ReceivedInput] | msgspec.UnsetType = msgspec.UNSET
    steering: list[SteeringMessage] | msgspec.UnsetType = msgspec.UNSET
    steering_taken: int | msgspec.UnsetType = msgspec.UNSET


class StopNotice(msgspec.Struct, frozen=True):
    """Who stopped the answer."""

    by: str | None


class PartsResponse(msgspec.Struct, frozen=True):
    """`ack` is the number of the newest part that is published, -1 before the first. After `stop`
    nothing more is published. `inputs` are those that wait no longer. `steering` are the messages
    of the user so far.
    """

    ack: int
    stop: StopNotice | None
    inputs: list[ReceivedInput]
    steering: list[SteeringMessage]
    lease_seconds: float


class JobResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A user's question, and the lease of the attempt at its answer. `prompt` is the text of the
    user's last message. `previous` are the folded parts up to the newest checkpoint, and
    `checkpoint` is its value. `steering` are the messages that the user has sent since the
    question; `steering_taken` of them had been taken when the checkpoint was saved. `topic` is that
    in whose channel the answer appears, if it has one.
    """

    generation: str
    attempt: int
    lease: str
    lease_seconds: float
    user: str
    chat: str | None
    prompt: str
    messages: list[dict[str, Any]]
    model: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    previous: list[dict[str, Any]] | None
    checkpoint: Any
    inputs: list[ReceivedInput]
    steering: list[SteeringMessage]
    steering_taken: int
    topic: str | msgspec.UnsetType = msgspec.UNSET


class ClaimResponse(msgspec.Struct, frozen=True):
    """The jobs; none if there was none in time."""

    jobs: list[JobResponse]


def describe_attempt(started: StartedAttempt) -> AttemptResponse:
    """Return what the producer of a new attempt is told."""
    record = started.record
    response = AttemptResponse(
        record.id,
        started.attempt,
        started.lease,
        started.lease_seconds,
        format_start(record.channel, record.after),
    )
    if started.new:
        return response
    previous, checkpoint = _describe_state(started.state)
    return msgspec.structs.replace(
        response,
        previous=previous,
        checkpoint=checkpoint,
        inputs=list_received(record.inputs),
        steering=[*record.steering],
        steering_taken=_count_taken(started.state),
    )


def describe_post(result: PostResult) -> PartsResponse:
    """Return what the producer is told after a post."""
    stop = None if result.stop is None else StopNotice(result.stop)
    return PartsResponse(
        result.ack, stop, [*result.inputs], [*result.steering], result.lease_seconds
    )


def describe_job(started: StartedAttempt) -> JobResponse:
    """Return what the producer that has claimed a job is told."""
    record = started.record
    previous, checkpoint = _describe_state(started.state)
    messages = msgspec.to_builtins(record.request.messages)
    return JobResponse(
        generation=record.id,
        attempt=started.attempt,
        lease=started.lease,
        lease_seconds=started.lease_seconds,
        user=record.user,
        chat=record.request.chat,
        prompt=last_prompt(messages),
        messages=messages,
        model=record.request.model,
        params=record.request.params,
        metadata=record.request.metadata,
        previous=previous,
        checkpoint=checkpoint,
        inputs=list_received(record.inputs),
        steering=[*record.steering],
        steering_taken=_count_taken(started.state),
        topic=record.request.topic or msgspec.UNSET,
    )


def format_start(channel: Channel, position: Position | None) -> str:
    """Return the cursor just before the first event of an answer."""
    return format_cursor({} if position is None else {channel: position})


def _describe_state(state: DurableState) -> tuple[list[dict[str, Any]] | None, Any]:
    """Return the parts up to the checkpoint and its value, None and None without one."""
    if state.checkpoint is None:
        return None, None
    parts = fold_inputs(state.checkpoint.folded, state.inputs)
    return parts, msgspec.Raw(state.checkpoint.value)


def _count_taken(state: DurableState) -> int:
    return 0 if state.checkpoint is None else state.checkpoint.steering
