"""LLM endpoints: a request becomes a stream of parts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

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
        The last part is `Finished`. Closing the generator closes the connection to the endpoint.
        Raise UpstreamError; the parts that were yielded before it remain valid.
        """
        ...
