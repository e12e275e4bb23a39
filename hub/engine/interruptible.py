"""Agents that ask people for decisions: an interrupt becomes an input of the answer.

    run of the agent → interrupt → input of the answer → value → the next run, with the decision

The run so far is a checkpoint, so a worker that takes over waits on, and does not ask the agent
again. Each run has its own usage; that of the answer is their sum.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec

from hub.core.durable import AskInput, Checkpoint, Restart, Save, StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.input_schema import InvalidSchema, check_schema
from hub.core.inputs import InputRequest
from hub.core.interrupts import (
    DECISIONS,
    Interrupt,
    UpstreamInterrupted,
    resume_request,
    to_messages,
)
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part, Usage
from hub.core.usage import UsageCount
from hub.ports.upstreams import Upstream

TIMEOUT_SECONDS: Final = timedelta(hours=1).total_seconds()
"""How long people have for a decision."""
_MAX_PROMPT_CHARS: Final = 2000
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class _Pause(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint of an interrupted run.

    messages: those of all runs so far. keys: those of the inputs, by the ids of the interrupts.
    """

    messages: list[Message]
    interrupts: list[Interrupt]
    keys: dict[str, str]
    expires_at: float


_decode_pause = msgspec.json.Decoder(_Pause).decode


class InterruptibleUpstream:
    """Implements ports.ResumableUpstream around an agent. wall: the time in Unix seconds."""

    def __init__(self, upstream: Upstream, wall: Callable[[], float] = time.time) -> None:
        self._upstream = upstream
        self._wall = wall

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """See ports.Upstream.stream. An interrupt is a failure: only an answer can wait."""
        return self._upstream.stream(request, context)

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        """See ports.ResumableUpstream.cancel. No run goes on while an answer waits."""

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """See ports.ResumableUpstream.resumable_stream. The checkpoint is that of an interrupt."""
        pause = None if checkpoint is None else _read_pause(checkpoint)
        if checkpoint is not None and pause is None:
            yield [Restart()]
        messages: list[Message] = [] if pause is None else pause.messages
        runs, usage = 0, UsageCount()
        while True:
            own_request = request
            if pause is not None:
                yield [*self._ask(pause)]
                values = await _wait(pause, context)
                own_request = resume_request(request, messages, pause.interrupts, values)
            runs += 1
            folded = FoldedParts()
            run_context = context if context is None else _number(context, runs)
            try:
                async with aclosing(self._upstream.stream(own_request, run_context)) as stream:
                    async for parts in stream:
                        yield [*_count(parts, runs, usage, folded)]
                return
            except UpstreamInterrupted as interrupted:
                if context is None or context.wait_for_input is None:
                    raise
                messages = [*messages, *to_messages(folded.parts)]
                pause = self._pause(messages, interrupted.interrupts, context, runs)

    def _pause(
        self,
        messages: list[Message],
        interrupts: Sequence[Interrupt],
        context: GenerationContext,
        runs: int,
    ) -> _Pause:
        """Return a checkpoint. The keys differ in each run: agents may repeat their ids."""
        return _Pause(
            messages=messages,
            interrupts=[*interrupts],
            keys={each.id: f"{context.attempt}.{runs}.{_plain(each.id)}" for each in interrupts},
            expires_at=self._wall() + TIMEOUT_SECONDS,
        )

    def _ask(self, pause: _Pause) -> Iterator[StreamOutput]:
        """Yield the requests of the inputs, and the checkpoint behind them."""
        for each in pause.interrupts:
            yield AskInput(
                InputRequest(
                    input=pause.keys[each.id],
                    prompt=each.prompt[:_MAX_PROMPT_CHARS] or "The agent asks for a decision.",
                    expires_at=pause.expires_at,
                    options=[*DECISIONS] if each.is_approval else None,
                    schema=None if each.is_approval else _valid_schema(each.schema),
                    tool_call=each.tool_call,
                )
            )
        yield Save(msgspec.Raw(msgspec.json.encode(pause)))


async def _wait(pause: _Pause, context: GenerationContext | None) -> dict[str, Any]:
    """Return the values that people have given, by the ids of the interrupts."""
    if context is None or context.wait_for_input is None:
        raise UpstreamInterrupted(pause.interrupts)
    values = {}
    for each in pause.interrupts:
        answer = await context.wait_for_input(pause.keys[each.id])
        if not answer.is_expired:
            values[each.id] = answer.fields["value"]
    return values


def _read_pause(checkpoint: Checkpoint) -> _Pause | None:
    """Return what was saved at an interrupt, None for a checkpoint of another kind."""
    try:
        return _decode_pause(checkpoint.value)
    except msgspec.DecodeError:
        return None


def _number(context: GenerationContext, runs: int) -> GenerationContext:
    """Return the context of a run: each run of an attempt has a number of its own."""
    return msgspec.structs.replace(context, run=runs)


def _count(
    parts: Sequence[Part], run: int, usage: UsageCount, folded: FoldedParts
) -> Iterator[Part]:
    """Yield the parts of a run, with the usage of all runs, and fold them."""
    for part in parts:
        if isinstance(part, Usage):
            usage.report(run, part.tokens)
            yield Usage(usage.total)
        else:
            if not isinstance(part, Finished):
                folded.apply(*to_event(part))
            yield part


def _plain(id_: str) -> str:
    """Return an id that may stand in a URL."""
    return id_ if _PLAIN_ID.fullmatch(id_) else sha256(id_.encode()).hexdigest()[:32]


def _valid_schema(schema: Any) -> Any:
    try:
        check_schema(schema)
    except InvalidSchema:
        return None
    return schema
