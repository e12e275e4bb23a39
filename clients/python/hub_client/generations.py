"""Generations on the wire: the requests that start, read and stop one, and the events of one.

docs/reference/http.md describes the routes, docs/reference/events.md the events. `name` of each
event class is the name of the SSE event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from hub_client.request import Request, build_path, response_reader, without_none
from hub_client.sse_decoder import ServerSentEvent

Prompt = str | Sequence[Mapping[str, Any]]
"""A prompt, or the messages of a conversation in the form of OpenAI's chat completions."""


class AskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a generation. None leaves the choice to the hub.

    params: model parameters, such as `temperature`, which the hub passes on to the upstream. chat:
    the id of the conversation. on_busy: what happens while an answer of the chat has not ended:
    `allow`, `reject`, `enqueue`, `interrupt` or `steer`. topic: the topic whose followers get the
    answer. notify: push a notification to the user's devices.
    """

    model: str | None = None
    upstream: str | None = None
    params: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    chat: str | None = None
    on_busy: str | None = None
    topic: str | None = None
    notify: bool | None = None


class GenerationStarted(msgspec.Struct, frozen=True):
    """The response to a start. cursor: the position just before the first event."""

    generation: str
    cursor: str


class InputValue(msgspec.Struct, frozen=True):
    """The value of an input that counts, and the user who gave it."""

    input: str
    value: Any
    by: str


class _StopResponse(msgspec.Struct, frozen=True):
    status: str


class _SteerResponse(msgspec.Struct, frozen=True):
    n: int


def start_request(
    prompt: Prompt, options: AskOptions, key: str, user: str | None
) -> Request[GenerationStarted]:
    """Build `POST /generations`.

    key: the idempotency key; a second request with the same key joins the first generation.
    user: the user id for `hub dev`; None when the token names the user.
    """
    name = "prompt" if isinstance(prompt, str) else "messages"
    fields = without_none(msgspec.structs.asdict(options))
    topic = fields.pop("topic", None)
    to = {} if topic is None else {"to": {"topic": topic}}
    body = {name: prompt, "id": key, **fields, **to}
    return Request(
        method="POST",
        path=build_path("generations", user=user),
        body=msgspec.json.encode(body),
        read=response_reader(GenerationStarted),
    )


def join_request(generation: str, user: str | None, cursor: str | None) -> Request[None]:
    """Build `GET /generations/{id}` for an event stream.

    `shape=events` asks for the hub's own events, whatever output template the settings choose.
    """
    path = build_path("generations", generation, user=user, cursor=cursor, shape="events")
    return Request(method="GET", path=path, read=lambda _: None)


def stop_request(generation: str, user: str | None) -> Request[str]:
    """Build `DELETE /generations/{id}`. The result is `stopping` or `already ended`."""
    read = response_reader(_StopResponse)
    return Request(
        method="DELETE",
        path=build_path("generations", generation, user=user),
        read=lambda body: read(body).status,
    )


def restart_request(generation: str, key: str, user: str | None) -> Request[GenerationStarted]:
    """Build `POST /generations/{id}/restart`. key: the idempotency key, as in `start_request`."""
    return Request(
        method="POST",
        path=build_path("generations", generation, "restart", user=user),
        read=response_reader(GenerationStarted),
        idempotency_key=key,
    )


def respond_request(
    generation: str,
    input: str,  # noqa: A002 - the name in the API
    value: Any,
    user: str | None,
) -> Request[InputValue]:
    """Build `POST /generations/{id}/inputs/{input}`. The first value counts."""
    return Request(
        method="POST",
        path=build_path("generations", generation, "inputs", input, user=user),
        body=msgspec.json.encode({"value": value}),
        read=response_reader(InputValue),
    )


def steer_request(
    generation: str, message: str | Mapping[str, Any], key: str, user: str | None
) -> Request[int]:
    """Build `POST /generations/{id}/steer`. The result is the number of the message."""
    read = response_reader(_SteerResponse)
    return Request(
        method="POST",
        path=build_path("generations", generation, "steer", user=user),
        body=msgspec.json.encode({"message": message, "id": key}),
        read=lambda body: read(body).n,
    )


class AnswerEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base class of the events. generation: the id of the generation."""

    name: ClassVar[str]
    generation: str


class Snapshot(AnswerEvent, frozen=True, kw_only=True):
    """The answer so far. parts: all of its parts in order (parts.py describes them).

    It is the first event for a client that joins, or that reconnects too late for the deltas.
    """

    name: ClassVar[str] = "generation.snapshot"
    status: str
    attempt: int
    text: str
    parts: list[dict[str, Any]] = []
    deltas: int


class Started(AnswerEvent, frozen=True, kw_only=True):
    """A worker has started the generation. user: who asked, only in a topic."""

    name: ClassVar[str] = "generation.started"
    attempt: int = 1
    model: str | None = None
    user: str | None = None


class Delta(AnswerEvent, frozen=True, kw_only=True):
    """New text, new reasoning, or tool calls in the delta form of OpenAI. i counts from 0.

    reasoning_details: the reasoning in the form that the LLM needs back. annotations: sources.
    """

    name: ClassVar[str] = "generation.delta"
    i: int
    text: str = ""
    reasoning: str | None = None
    tool_calls: list[Any] | None = None
    reasoning_details: list[Any] | None = None
    annotations: list[Any] | None = None


class Part(AnswerEvent, frozen=True, kw_only=True):
    """A part of another kind than text, reasoning and tool calls. i counts on from the deltas.

    type: `tool_result`, `source`, `file`, `status`, `step_start`, `step_end` or `data`; a later
    version of the hub may send others. fields: the others, which depend on the type
    (docs/reference/events.md).
    """

    name: ClassVar[str] = "generation.part"
    i: int
    type: str
    fields: dict[str, Any]


class InputRequested(AnswerEvent, frozen=True, kw_only=True):
    """The answer waits for a value: `await answer.respond(event.input, value)`.

    i counts on from the deltas. input: the key. options: the values to choose from, or None.
    schema: the JSON Schema of the value, or None. expires_at: the end of the wait in Unix seconds.
    tool_call: the id of the call that needs the value, or None.
    """

    name: ClassVar[str] = "generation.input_requested"
    i: int | None = None
    input: str
    prompt: str
    options: list[str] | None = None
    schema: Any = None
    expires_at: float
    tool_call: str | None = None


class InputReceived(AnswerEvent, frozen=True, kw_only=True):
    """The value of an input that counts. by: the user who gave it."""

    name: ClassVar[str] = "generation.input_received"
    input: str
    value: Any
    by: str


class InputExpired(AnswerEvent, frozen=True, kw_only=True):
    """Nobody gave the value of an input in time."""

    name: ClassVar[str] = "generation.input_expired"
    input: str


class Steered(AnswerEvent, frozen=True, kw_only=True):
    """A user sent a message to the running answer. n counts from 0."""

    name: ClassVar[str] = "generation.steered"
    n: int
    message: Any
    by: str


class Replaced(AnswerEvent, frozen=True, kw_only=True):
    """The upstream rewrote its answer. text: the whole new text."""

    name: ClassVar[str] = "generation.replaced"
    i: int
    text: str


class Restarted(AnswerEvent, frozen=True, kw_only=True):
    """The worker was lost, and another one begins again. The text so far is void."""

    name: ClassVar[str] = "generation.restarted"
    attempt: int
    model: str | None = None
    user: str | None = None


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """What events add up to: the text, and all parts in order (parts.py describes them)."""

    text: str
    parts: list[dict[str, Any]] = []


class Continued(AnswerEvent, frozen=True, kw_only=True):
    """A new attempt continues the answer, after a lost producer or after a value has come.

    parts: the parts with this number and higher ones are void. snapshot: what the others add up to.
    """

    name: ClassVar[str] = "generation.continued"
    attempt: int
    model: str | None = None
    user: str | None = None
    parts: int
    snapshot: Fold


class End(AnswerEvent, frozen=True, kw_only=True):
    """Base class of the end events. Exactly one of them is the last event of a generation.

    deltas: the number of deltas.
    usage: the token counts, or None when the upstream does not report them.
    seconds: `queued`, `first_delta` and `total`, each measured from the request on.
    """

    deltas: int = 0
    usage: dict[str, Any] | None = None
    seconds: dict[str, float | None] | None = None


class Done(End, frozen=True, kw_only=True):
    """The generation is complete. finish_reason: `stop`, `length`, `tool_calls`, …"""

    name: ClassVar[str] = "generation.done"
    finish_reason: str | None = None


class Stopped(End, frozen=True, kw_only=True):
    """The generation was stopped. by: who stopped it."""

    name: ClassVar[str] = "generation.stopped"
    by: str


class Failed(End, frozen=True, kw_only=True):
    """The generation failed.

    code: docs/reference/errors.md describes the codes. retryable: whether asking again may help.
    """

    name: ClassVar[str] = "generation.failed"
    code: str
    message: str
    retryable: bool


_EVENT_TYPES: Final[Mapping[str, type[AnswerEvent]]] = {
    event_type.name: event_type
    for event_type in (
        *(Snapshot, Started, Delta, Part, Replaced, Restarted, Continued),
        *(InputRequested, InputReceived, InputExpired, Steered),
        *(Done, Stopped, Failed),
    )
}


def parse_answer_event(event: ServerSentEvent) -> AnswerEvent | None:
    """Return the typed event, or None for a name that this client does not know."""
    event_type = _EVENT_TYPES.get(event.name)
    if event_type is None:
        return None
    if event_type is Part:
        return _parse_part(msgspec.json.decode(event.data, type=dict[str, Any]))
    return msgspec.json.decode(event.data, type=event_type)


def _parse_part(data: dict[str, Any]) -> Part:
    head = {name: data.pop(name, None) for name in ("generation", "i", "type")}
    return msgspec.convert({**head, "fields": data}, Part)
