"""Agents that ask people for decisions: an interrupt becomes inputs that suspend the answer.

    run of the agent → interrupt → inputs of the answer, which is suspended
    values           → next attempt → the next run, with the decisions

The run so far is the checkpoint. An answer waits for one input at a time: for the one that expires
first of those without a value.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import Any, Final

import msgspec

from hub.core.durable import AskInput, Checkpoint, Restart, Save, StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.input_schema import InvalidSchema, check_schema
from hub.core.inputs import InputRequest, StoredInput, answered_values
from hub.core.interrupts import (
    DECISIONS,
    Interrupt,
    UpstreamInterrupted,
    resume_request,
    to_messages,
)
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part, Usage
from hub.ports.upstreams import Upstream

_MAX_PROMPT_CHARS: Final = 2000
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class _Pause(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint of an interrupted run.

    messages: those of all runs so far. requests: those of the inputs, in the order of interrupts.
    """

    messages: list[Message]
    interrupts: list[Interrupt]
    requests: list[InputRequest]


_decode_pause = msgspec.json.Decoder(_Pause).decode


class InterruptibleUpstream:
    """Implements ports.ResumableUpstream around an agent.

    timeout_seconds: how long people have for a decision. wall: the time in Unix seconds.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        timeout_seconds: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._upstream = upstream
        self._timeout_seconds = timeout_seconds
        self._wall = wall

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """See ports.Upstream.stream. An interrupt is a failure: nobody can be asked."""
        return self._upstream.stream(request, context)

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        """See ports.ResumableUpstream.cancel. No run goes on while an answer is suspended."""

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """See ports.ResumableUpstream.resumable_stream. The checkpoint is that of an interrupt."""
        pause = None if checkpoint is None else _read_pause(checkpoint)
        messages: list[Message] = []
        if pause is not None:
            inputs = (context.inputs if context is not None else None) or {}
            if requests := [*_ask(pause, inputs)]:
                yield requests
                return
            messages = pause.messages
            request = resume_request(request, messages, pause.interrupts, _values(pause, inputs))
        elif checkpoint is not None:
            yield [Restart()]
        folded = FoldedParts()
        try:
            async with aclosing(self._upstream.stream(request, context)) as stream:
                async for parts in stream:
                    _fold(parts, folded)
                    yield parts
        except UpstreamInterrupted as interrupted:
            if context is None or context.inputs is None:
                raise
            messages = [*messages, *to_messages(folded.parts)]
            pause = self._pause(messages, interrupted.interrupts, context.attempt)
            yield [*_ask(pause, {})]

    def _pause(
        self, messages: list[Message], interrupts: Sequence[Interrupt], attempt: int
    ) -> _Pause:
        """Return a checkpoint. The keys differ in each attempt: agents may repeat their ids."""
        latest = self._wall() + self._timeout_seconds
        requests = [
            InputRequest(
                input=f"{attempt}.{_plain(each.id)}",
                prompt=each.prompt[:_MAX_PROMPT_CHARS] or "The agent asks for a decision.",
                expires_at=round(min(latest, each.expires_at or latest), 3),
                options=[*DECISIONS] if each.is_approval else None,
                schema=None if each.is_approval else _valid_schema(each.schema),
                tool_call=each.tool_call,
            )
            for each in interrupts
        ]
        return _Pause(messages=messages, interrupts=[*interrupts], requests=requests)


def _ask(pause: _Pause, inputs: Mapping[str, StoredInput]) -> Iterator[StreamOutput]:
    """Yield the requests of the inputs without an answer; the last one suspends the answer."""
    waiting = [
        each
        for each in pause.requests
        if (stored := inputs.get(each.input)) is None or stored.answer is None
    ]
    if not waiting:
        return
    *others, first = sorted(waiting, key=lambda each: each.expires_at, reverse=True)
    for each in others:
        yield AskInput(each)
    yield AskInput(first, Save(msgspec.Raw(msgspec.json.encode(pause))))


def _values(pause: _Pause, inputs: Mapping[str, StoredInput]) -> dict[str, Any]:
    """Return the values that people have given, by the ids of the interrupts."""
    values = answered_values(inputs)
    return {
        interrupt.id: values[request.input]
        for interrupt, request in zip(pause.interrupts, pause.requests, strict=True)
        if request.input in values
    }


def _fold(parts: Sequence[Part], folded: FoldedParts) -> None:
    for part in parts:
        if not isinstance(part, Usage | Finished):
            folded.apply(*to_event(part))


def _read_pause(checkpoint: Checkpoint) -> _Pause | None:
    """Return what was saved at an interrupt, None for a checkpoint of another kind."""
    try:
        return _decode_pause(checkpoint.value)
    except msgspec.DecodeError:
        return None


def _plain(id_: str) -> str:
    """Return an id that may stand in a URL."""
    return id_ if _PLAIN_ID.fullmatch(id_) else sha256(id_.encode()).hexdigest()[:32]


def _valid_schema(schema: Any) -> Any:
    try:
        check_schema(schema)
    except InvalidSchema:
        return None
    return schema
