"""The events of an answer, typed. `name` of each class is its name on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from hub.core.sse_decoder import ServerSentEvent


class AnswerEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all of them have."""

    name: ClassVar[str]
    generation: str


class Snapshot(AnswerEvent, frozen=True, kw_only=True):
    """What there is so far: first where one joins, or comes back too late for the deltas."""

    name: ClassVar[str] = "generation.snapshot"
    status: str
    attempt: int
    text: str
    deltas: int


class Started(AnswerEvent, frozen=True, kw_only=True):
    """A worker has begun."""

    name: ClassVar[str] = "generation.started"
    attempt: int = 1
    model: str | None = None


class Delta(AnswerEvent, frozen=True, kw_only=True):
    """A piece: text, or reasoning, or tool calls in OpenAI's delta form. i counts from 0."""

    name: ClassVar[str] = "generation.delta"
    i: int
    text: str = ""
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class Replaced(AnswerEvent, frozen=True, kw_only=True):
    """The upstream rewrote its answer; text is all of it."""

    name: ClassVar[str] = "generation.replaced"
    i: int
    text: str


class Restarted(AnswerEvent, frozen=True, kw_only=True):
    """The worker was lost, another begins anew; what was shown is void."""

    name: ClassVar[str] = "generation.restarted"
    attempt: int
    model: str | None = None


class End(AnswerEvent, frozen=True, kw_only=True):
    """Exactly one of its three kinds is the last event. usage: None where the upstream did not tell
    it. seconds: `queued`, `first_delta` and `total`, each from the question on.
    """

    deltas: int = 0
    usage: dict[str, Any] | None = None
    seconds: dict[str, float | None] | None = None


class Done(End, frozen=True, kw_only=True):
    """It is complete, as finish_reason says (`stop`, `length`, `tool_calls`, …)."""

    name: ClassVar[str] = "generation.done"
    finish_reason: str | None = None


class Stopped(End, frozen=True, kw_only=True):
    """Somebody stopped it."""

    name: ClassVar[str] = "generation.stopped"
    by: str


class Failed(End, frozen=True, kw_only=True):
    """code: docs/http.md lists them. retryable: asking again may help."""

    name: ClassVar[str] = "generation.failed"
    code: str
    message: str
    retryable: bool


_KINDS: Final[Mapping[str, type[AnswerEvent]]] = {
    kind.name: kind
    for kind in (Snapshot, Started, Delta, Replaced, Restarted, Done, Stopped, Failed)
}


def answer_event(event: ServerSentEvent) -> AnswerEvent | None:
    """The event typed; None when it is none of an answer, or of a kind that is not known yet."""
    kind = _KINDS.get(event.name)
    return None if kind is None else msgspec.json.decode(event.data, type=kind)
