"""LLM endpoints: a request becomes a stream of parts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, runtime_checkable

from hub.core.durable import Checkpoint, StreamOutput
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part


class Upstream(Protocol):
    """An LLM endpoint."""

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """Send a request, and yield the parts of its answer as they arrive, several at a time.

        context: for whom it is; an endpoint that asks for it gets it. None: for nobody, as in a
        test of the endpoint.
        The last part is `Finished`. Closing the generator closes the connection to the endpoint,
        and ends the answer there.
        Raise UpstreamError; the parts that were yielded before it remain valid.
        """
        ...


@runtime_checkable
class ResumableUpstream(Upstream, Protocol):
    """An LLM endpoint that may continue an answer when the worker that read it was lost.

    Example: an endpoint that generates in the background names the answer in its first event. The
    stream yields `ResumePoint({"id": "resp_1", "sequence_number": 7})` behind the parts of each
    batch. The relay stores each point together with these parts. The worker that takes over calls
    `resumable_stream` with the newest checkpoint, and the stream yields what follows it.
    """

    def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """As `stream`, with resume points between the parts.

        checkpoint: that of the attempt before, made from a resume point; None without one. The
        parts up to it are kept, and the stream yields those behind it. If the answer cannot be
        continued there, the stream yields `Restart` before the parts of a new answer; all parts so
        far are void then. It may also do so later, when the answer has become unreachable.
        Closing the generator closes the connection. The answer may go on at the endpoint.
        """
        ...

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        """Tell the endpoint that nobody wants the answer of this checkpoint any more.

        It takes a few seconds at most and raises nothing: a failure is logged.
        """
        ...
