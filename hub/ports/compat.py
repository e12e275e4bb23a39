"""Encoders that write an answer in the format of another API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hub.core.generation import Generation


class AnswerEncoder(Protocol):
    """Encodes one answer for a client of another API.

    It is pure: it is fed the generation's events in order from the first one and returns the chunks
    to send. Chunks are numbered from 0 in the order in which they are returned. They depend only on
    the generation's request and its stored events, so every reader sees the same numbers.
    """

    @property
    def is_finished(self) -> bool:
        """Whether no chunk follows: the answer ended, or the client cannot be told its rest."""
        ...

    @property
    def is_broken(self) -> bool:
        """Whether the stream must end without `trailer` and without the end of an HTTP body,
        because clients take a stream that ends in order for a complete answer.
        """
        ...

    @property
    def trailer(self) -> bytes:
        """The bytes after the last chunk. They have no number."""
        ...

    def start(self) -> Sequence[bytes]:
        """Return the chunks before the first event."""
        ...

    def feed(self, name: str, data: bytes) -> Sequence[bytes]:
        """Return the chunks of an event, none if the encoder is finished.

        name: the event's name. data: its JSON.
        """
        ...

    def abort(self, code: str, message: str) -> bytes:
        """Return what tells the client that its stream ends before the answer does. Not numbered.

        code: the error's code. message: one sentence.
        """
        ...


EncoderFactory = Callable[[Generation], AnswerEncoder]
"""Makes the encoder of one reader's stream of a generation."""
