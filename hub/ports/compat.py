"""An answer in the format of another API's clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hub.core.generation import Generation


class AnswerEncoder(Protocol):
    """One answer in the words of a client that knows nothing of the hub. Pure: fed the generation's
    events in order from the first one, it gives the chunks to send.

    Chunks are numbered from 0 as they come. They follow from the record's question and the events
    as they stand in the log, so that their numbers are the same for every reader.
    """

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come: it has ended, or cannot be told any further."""
        ...

    @property
    def trailer(self) -> bytes:
        """What follows the last chunk and has no number."""
        ...

    def start(self) -> Sequence[bytes]:
        """The chunks before the first event."""
        ...

    def feed(self, name: str, data: bytes) -> Sequence[bytes]:
        """The chunks that an event makes; none once it is over."""
        ...

    def abort(self, code: str, message: str) -> bytes:
        """What tells the client that the answer ends for it here, before its end. No number."""
        ...


EncoderFactory = Callable[[Generation], AnswerEncoder]
"""Make the encoder of one reader's stream of a generation."""
