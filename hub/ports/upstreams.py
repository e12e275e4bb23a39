"""An LLM endpoint."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Sequence,
)
from typing import Protocol

from hub.core.generation import GenerationRequest
from hub.core.stream_parts import StreamPart


class Upstream(Protocol):
    """An LLM endpoint."""

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Sequence[StreamPart], None]:
        """Asks, and yields what has come meanwhile; closing the generator closes the connection.

        The last piece is a Finish. Raises UpstreamError; then what was yielded stays valid.
        """
        ...
