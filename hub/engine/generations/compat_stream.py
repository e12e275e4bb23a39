"""The view of one generation in another API's format: all of its events, from the first one.

The connection follows its user's channel like any other, from the position before the generation
began, and the view passes the generation's events to an AnswerEncoder. A client that resumes at
chunk N gets the same chunks without the first N: the numbers follow from the log, and the hub
stores nothing about them.

When the hub closes the connection and the client should reconnect (draining, slow client, broker
away), the stream must not look complete: the connection is cut after the last whole chunk, without
the mark that ends an HTTP body, so that the client's own error handling resumes. An encoder decides
the same for an answer that failed (`is_broken`): its error is the last chunk, and the body has no
end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.event import Event
from hub.engine.generations.generation_stream import data_prefix
from hub.engine.generations.generations import ReplayStart
from hub.ports.compat import AnswerEncoder
from hub.ports.connections import EventEncoder

TRIMMED: Final = "the hub no longer keeps the beginning of this answer; request the whole answer"


class CompatStream:
    """Implements StreamView for one generation in the format of `answer_encoder`.

    from_chunk: the number of chunks that the client already has; they are not sent.
    """

    can_sync: Final = False
    shows_all_events: Final = False
    uses_hub_events: Final = False

    def __init__(
        self, replay: ReplayStart, answer_encoder: AnswerEncoder, *, from_chunk: int = 0
    ) -> None:
        self._trimmed = False  # whether the log lost what the client still needs
        self._replay = replay
        self._answer_encoder = answer_encoder
        self._skip = from_chunk  # chunks that are still to be left out
        self._data_prefix = data_prefix(replay.record.id)

    @property
    def end_reason(self) -> CloseReason | None:
        if self._trimmed:
            return CloseReason.TRIMMED
        return CloseReason.ENDED if self._answer_encoder.is_finished else None

    @property
    def is_broken(self) -> bool:
        return self._answer_encoder.is_broken

    def first_frames(
        self, opening: Mapping[str, Any], cursor: bytes, retry_ms: int, encoder: EventEncoder
    ) -> bytes:
        """Return the format's opening, and the kept events when the log has lost the beginning."""
        frames = _frame(self._without_skipped(self._answer_encoder.start()), encoder)
        if self._replay.events is not None and self._skip:
            self._trimmed = True
            return frames
        for name, data in self._replay.events or ():
            frames += _frame(self._without_skipped(self._answer_encoder.feed(name, data)), encoder)
        return frames

    def encode(self, event: Event, encoder: EventEncoder) -> bytes | None:
        if not (event.name.startswith("generation.") and event.data.startswith(self._data_prefix)):
            return None
        return self._without_skipped(self._answer_encoder.feed(event.name, event.data))

    def reset(self, channel: Channel, reason: str, encoder: EventEncoder) -> bytes | None:
        """End the stream with an error in the client's format."""
        self._trimmed = True
        return None

    def on_live(self) -> None:
        """Live events follow until the generation ends."""

    def last_body(self, reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes | None:
        """Return the format's end or error, or None to cut the connection: the client resumes."""
        if reason is CloseReason.ENDED:
            return b"" if self.is_broken else self._answer_encoder.trailer
        if reason is CloseReason.TRIMMED:
            return self._answer_encoder.abort("log_trimmed", TRIMMED)
        if reason.reconnect:
            return None
        message = f"the hub has ended this stream: {reason.label}"
        return self._answer_encoder.abort(reason.label, message)

    def _without_skipped(self, chunks: Sequence[bytes]) -> bytes:
        """Join the chunks that the client does not have yet."""
        skipped = min(self._skip, len(chunks))
        self._skip -= skipped
        return b"".join(chunks[skipped:])


def _frame(body: bytes, encoder: EventEncoder) -> bytes:
    return encoder.frame(body, None) if body else b""
