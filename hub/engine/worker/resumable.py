"""Answers of upstreams that can continue an answer, and of those that cannot.

A resume point names its endpoint, which alone can continue the answer there. The others begin the
answer anew, unless the endpoint has asked a person: the decision is for it alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from hub.core.durable import AskInput, Checkpoint, Restart, ResumePoint, Save, StreamOutput
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.ports.upstreams import ResumableUpstream, Upstream


def open_stream(
    upstream: Upstream,
    request: GenerationRequest,
    context: GenerationContext | None,
    checkpoint: Checkpoint | None,
) -> AsyncGenerator[Sequence[StreamOutput], None]:
    """Return the stream of an answer, as of ResumableUpstream.resumable_stream.

    An upstream that cannot continue begins the answer anew.
    """
    if isinstance(upstream, ResumableUpstream):
        return upstream.resumable_stream(request, context, checkpoint)
    stream = upstream.stream(request, context)
    return stream if checkpoint is None else begin_anew(stream)


async def begin_anew(
    stream: AsyncGenerator[Sequence[StreamOutput], None],
) -> AsyncGenerator[Sequence[StreamOutput], None]:
    """Make the parts so far void, and yield those of a stream."""
    async with aclosing(stream):
        yield [Restart()]
        async for output in stream:
            yield output


async def cancel_answer(
    upstream: Upstream, request: GenerationRequest, checkpoint: Checkpoint
) -> None:
    """Tell an upstream that nobody wants an answer. See ResumableUpstream.cancel."""
    if isinstance(upstream, ResumableUpstream):
        await upstream.cancel(request, checkpoint)


class _EndpointPoint(msgspec.Struct, frozen=True):
    """The value of a resume point: the name of the endpoint, and what it has yielded.

    is_exclusive: whether only it may go on, because it has a question to a person.
    """

    endpoint: str
    value: msgspec.Raw
    is_exclusive: bool = False


_decode_point = msgspec.json.Decoder(_EndpointPoint).decode


def read_checkpoint(checkpoint: Checkpoint | None) -> tuple[str, Checkpoint | None]:
    """Return the name of the endpoint of a checkpoint, and the checkpoint for the endpoint.

    The name is empty, and the checkpoint None, if there is none or a function has saved it.
    """
    point = _read_point(checkpoint)
    if checkpoint is None or point is None:
        return "", None
    return point.endpoint, msgspec.structs.replace(checkpoint, value=bytes(point.value))


def _read_point(checkpoint: Checkpoint | None) -> _EndpointPoint | None:
    try:
        return None if checkpoint is None else _decode_point(checkpoint.value)
    except msgspec.DecodeError:
        return None


_NOTED: Final = frozenset[type]({Restart, ResumePoint, AskInput})


class ResumableAnswer:
    """One answer, which the endpoint of its newest resume point can continue.

    checkpoint: that of the attempt before; None without one. endpoint: the name of the one that has
    the answer, empty if none has. is_exclusive: whether only it may go on, because it has a
    question to a person.
    """

    def __init__(self, context: GenerationContext | None, checkpoint: Checkpoint | None) -> None:
        self._context = context
        self.endpoint, self._checkpoint = read_checkpoint(checkpoint)
        point = _read_point(checkpoint)
        self.is_exclusive = point is not None and point.is_exclusive
        self._is_void = checkpoint is not None and self._checkpoint is None

    def open(
        self, endpoint: str, upstream: Upstream, request: GenerationRequest
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Return the stream of the answer from an endpoint.

        After a failure before the first part, it may be opened again from any endpoint.
        """
        has_answer = self._checkpoint is not None and endpoint == self.endpoint
        checkpoint = self._checkpoint if has_answer else None
        stream = open_stream(upstream, request, self._context, checkpoint)
        if not has_answer and (self._is_void or self._checkpoint is not None):
            stream = begin_anew(stream)
        return self._name_points(endpoint, stream)

    async def _name_points(
        self, endpoint: str, stream: AsyncGenerator[Sequence[StreamOutput], None]
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        async with aclosing(stream):
            async for output in stream:
                if _NOTED.isdisjoint(map(type, output)):  # nearly always
                    yield output
                else:
                    yield [self._take(endpoint, each) for each in output]

    def _take(self, endpoint: str, each: StreamOutput) -> StreamOutput:
        """Note where the answer can be continued, and return what is passed on."""
        if isinstance(each, Restart):
            self._checkpoint, self._is_void, self.is_exclusive = None, False, False
        elif isinstance(each, ResumePoint) and each.value is None:
            self._checkpoint = None
        elif isinstance(each, ResumePoint):
            value = msgspec.json.encode(each.value)
            folded = self._checkpoint.folded if self._checkpoint is not None else ()
            self.endpoint, self._checkpoint = endpoint, Checkpoint(value=value, folded=folded)
            return ResumePoint(_EndpointPoint(endpoint, msgspec.Raw(value), self.is_exclusive))
        elif isinstance(each, AskInput) and each.save is not None:
            point = _EndpointPoint(endpoint, each.save.value, is_exclusive=True)
            return AskInput(each.request, Save(msgspec.Raw(msgspec.json.encode(point))))
        return each
