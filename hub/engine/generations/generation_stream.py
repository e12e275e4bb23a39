"""The view of one generation in the hub's own events: a snapshot, then its events up to the end.

The connection follows its user's channel like any other, and the view skips the events of other
generations. The snapshot and the position at which it was taken belong to the same moment, so that
no event is missing between the two and none is shown twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.event import Event, encode_json
from hub.core.folded_parts import visible_parts
from hub.core.generation import Generation
from hub.engine.streams.stream_view import encode_bye, encode_reset
from hub.ports.connections import EventEncoder

END_EVENTS: Final = frozenset({"generation.done", "generation.stopped", "generation.failed"})


class GenerationStream:
    """Implements StreamView for one generation.

    snapshot: whether the stream begins with `generation.snapshot`; False for a client that resumes.
    """

    can_sync: Final = False
    shows_all_events: Final = False
    uses_hub_events: Final = True
    is_broken: Final = False

    def __init__(self, record: Generation, *, snapshot: bool) -> None:
        self.end_reason: CloseReason | None = None
        # What the first event is made of; None when the client resumes.
        self._snapshot = record if snapshot else None
        # The first bytes of the data of each of the generation's events.
        self._data_prefix = data_prefix(record.id)

    def first_frames(
        self, opening: Mapping[str, Any], cursor: bytes, retry_ms: int, encoder: EventEncoder
    ) -> bytes:
        record = self._snapshot
        if record is None:
            return b""
        body = encoder.encode("generation.snapshot", encode_json(snapshot_fields(record)))
        frames = encoder.first_event(body, cursor, retry_ms)
        if record.status.ended:
            end = encode_json({"generation": record.id, **record.end})
            body = encoder.encode(f"generation.{record.status.value}", end)
            frames += encoder.frame(body, cursor)
            self.end_reason = CloseReason.ENDED
        return frames

    def encode(self, event: Event, encoder: EventEncoder) -> bytes | None:
        name = event.name
        if not (name.startswith("generation.") and event.data.startswith(self._data_prefix)):
            return None
        if name in END_EVENTS:
            self.end_reason = CloseReason.ENDED
        return encoder.encode(name, event.data, event.channel)

    def reset(self, channel: Channel, reason: str, encoder: EventEncoder) -> bytes | None:
        """End the stream: the client reconnects and gets a new snapshot."""
        self.end_reason = CloseReason.TRIMMED
        return encode_reset(channel, reason, encoder)

    def on_live(self) -> None:
        """Live events follow until the generation ends."""

    def last_body(self, reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes | None:
        return encode_bye(reason, retry_ms, encoder)


def data_prefix(generation: str) -> bytes:
    """Return what the data of each event of a generation begins with."""
    return b'{"generation":"%b"' % generation.encode()


def snapshot_fields(record: Generation) -> Mapping[str, Any]:
    """Return the data of `generation.snapshot`."""
    folded = record.fold()
    return {
        "generation": record.id,
        "status": record.status.value,
        "attempt": record.attempt,
        "text": folded.text,
        "parts": visible_parts(folded.parts),
        "deltas": record.deltas,
    }
