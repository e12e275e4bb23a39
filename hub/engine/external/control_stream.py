"""The view of an external producer: what concerns its attempt, out of the channel of the answer.

    input        an input waits no longer: {n, input, value, by, expired}
    steering     the user has sent a message: {n, message, by}
    stop         somebody has stopped the answer, which has ended
    lease_lost   another attempt has begun, or the lease has ended (lease_watch.py)

The stream begins with the inputs and messages so far. It ends with either of the last two, and with
the end of the answer. It does not renew the lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.event import Event, encode_json
from hub.core.generation import Generation, Status
from hub.core.inputs import INPUT_EXPIRED, INPUT_RECEIVED, ReceivedInput, list_received
from hub.core.steering import STEERED, SteeringMessage
from hub.engine.attempts.attempt_events import CONTINUED, RESTARTED
from hub.engine.generations.generation_stream import END_EVENTS, data_prefix
from hub.engine.streams.stream_view import encode_bye, encode_reset
from hub.error_codes import PRODUCER_LOST
from hub.ports.connections import EventEncoder

INPUT: Final = "input"
STEERING: Final = "steering"
STOP: Final = "stop"
LEASE_LOST: Final = "lease_lost"


class ControlStream:
    """Implements StreamView for one attempt. record: as it is at the position where it begins."""

    can_sync: Final = False
    shows_all_events: Final = False
    uses_hub_events: Final = True
    is_broken: Final = False

    def __init__(self, record: Generation) -> None:
        self.end_reason: CloseReason | None = None
        self._record = record
        self._received = list_received(record.inputs)
        self._data_prefix = data_prefix(record.id)

    def first_frames(
        self, opening: Mapping[str, Any], cursor: bytes, retry_ms: int, encoder: EventEncoder
    ) -> bytes:
        if self._record.status is Status.STOPPED:
            body = self._end(STOP, {"by": self._record.end.get("by")}, encoder)
            return encoder.first_event(body, cursor, retry_ms)
        bodies = [encoder.encode(INPUT, encode_json(each)) for each in self._received]
        bodies += [encoder.encode(STEERING, encode_json(each)) for each in self._record.steering]
        if not bodies:
            return b""
        frames = [encoder.frame(body, cursor) for body in bodies[1:]]
        return b"".join([encoder.first_event(bodies[0], cursor, retry_ms), *frames])

    def encode(self, event: Event, encoder: EventEncoder) -> bytes | None:
        if not event.data.startswith(self._data_prefix):
            return None
        if event.name in (RESTARTED, CONTINUED):
            return self._end(LEASE_LOST, {}, encoder)
        if event.name == STEERED:
            steered = msgspec.json.decode(event.data, type=SteeringMessage)
            return encoder.encode(STEERING, encode_json(steered))
        if event.name in (INPUT_RECEIVED, INPUT_EXPIRED):
            return self._encode_input(event, encoder)
        if event.name not in END_EVENTS:
            return None
        end = msgspec.json.decode(event.data)
        if event.name == "generation.stopped":
            return self._end(STOP, {"by": end["by"]}, encoder)
        if end.get("code") == PRODUCER_LOST.name:
            return self._end(LEASE_LOST, {}, encoder)
        self.end_reason = CloseReason.ENDED
        return b""

    def _encode_input(self, event: Event, encoder: EventEncoder) -> bytes | None:
        fields = msgspec.json.decode(event.data)
        if any(each.input == fields["input"] for each in self._received):
            return None  # it is published again when a later attempt asks for it
        received = ReceivedInput.of(len(self._received), event.name, fields)
        self._received.append(received)
        return encoder.encode(INPUT, encode_json(received))

    def reset(self, channel: Channel, reason: str, encoder: EventEncoder) -> bytes | None:
        """End the stream: the producer reconnects and learns how the answer stands."""
        self.end_reason = CloseReason.TRIMMED
        return encode_reset(channel, reason, encoder)

    def on_live(self) -> None:
        """Live events follow until the attempt ends."""

    def last_body(self, reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes | None:
        return encode_bye(reason, retry_ms, encoder)

    def _end(self, name: str, data: Mapping[str, Any], encoder: EventEncoder) -> bytes:
        self.end_reason = CloseReason.ENDED
        return encoder.encode(name, encode_json(data))
