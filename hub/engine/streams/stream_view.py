"""What a connection shows of the channels that it follows.

A connection (connection.py) keeps the position, the order and the bounds; its view decides what the
client sees: the first event, which events become which frames, what a reset does, and how the
stream ends. There are four views: a user's stream and a long poll (here), the stream of one
generation (generation_stream.py), and the same in another API's format (compat_stream.py).

The view of a user's stream is not called per event while its connection is synced: the broadcast
loop writes the shared frames itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.event import Event, encode_json
from hub.ports.connections import EventEncoder


class StreamView(Protocol):
    """A connection's view of its channels. Pure: it returns bytes and does no I/O."""

    @property
    def can_sync(self) -> bool:
        """Whether the connection sends the same frames as the others of its channels."""
        ...

    @property
    def shows_all_events(self) -> bool:
        """Whether the client gets every event of the channels."""
        ...

    @property
    def uses_hub_events(self) -> bool:
        """Whether the client reads the hub's own events and cursors. If False, frames carry no
        cursor and `hub.expiring` is not sent.
        """
        ...

    @property
    def end_reason(self) -> CloseReason | None:
        """Why the stream is complete, once it is. The connection then closes with this reason."""
        ...

    @property
    def is_broken(self) -> bool:
        """Whether the stream must not look complete: it closes without the encoder's trailer, so
        that an HTTP client sees a body without an end.
        """
        ...

    def first_frames(
        self, opening: Mapping[str, Any], cursor: bytes, retry_ms: int, encoder: EventEncoder
    ) -> bytes:
        """Return the frames that the stream begins with. May set `end_reason`.

        opening: the data of `hub.open`. cursor: the position before the first event.
        """
        ...

    def encode(self, event: Event, encoder: EventEncoder) -> bytes | None:
        """Return the body of an event, stored or live, without its cursor. May set `end_reason`.

        Return None for an event that the stream does not show, and no bytes for one that it shows
        without a frame.
        """
        ...

    def reset(self, channel: Channel, reason: str, encoder: EventEncoder) -> bytes | None:
        """The log cannot continue from the client's position: return the body to send, or None.

        If `end_reason` is not set here, the connection continues from the head of the log.
        """
        ...

    def on_live(self) -> None:
        """The client has everything that was stored; live events follow. May set `end_reason`."""
        ...

    def last_body(self, reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes | None:
        """Return the body of the last event, which may be empty.

        Return None to close without a last event and without the encoder's trailer.
        """
        ...


class UserStream:
    """Implements StreamView: every event, between `hub.open` and `hub.bye`. It has no state."""

    can_sync: Final = True
    shows_all_events: Final = True
    uses_hub_events: Final = True
    is_broken: Final = False
    end_reason: CloseReason | None = None

    def first_frames(
        self, opening: Mapping[str, Any], cursor: bytes, retry_ms: int, encoder: EventEncoder
    ) -> bytes:
        body = encoder.encode("hub.open", encode_json(opening))
        return encoder.first_event(body, cursor, retry_ms)

    def encode(self, event: Event, encoder: EventEncoder) -> bytes | None:
        return encoder.encode(event.name, event.data, event.channel)

    def reset(self, channel: Channel, reason: str, encoder: EventEncoder) -> bytes | None:
        return encode_reset(channel, reason, encoder)

    def on_live(self) -> None:
        """Live events follow until the connection closes."""

    def last_body(self, reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes | None:
        return encode_bye(reason, retry_ms, encoder)


USER_STREAM: Final = UserStream()
"""The one instance: every user's stream shares it."""


class PollStream(UserStream):
    """Implements StreamView for one long poll: it has no `hub.open`, and none of the hub's events
    when the wait is over (the response itself carries the cursor).

    ends_when_live: True for a poll that returns what is stored and does not wait.
    """

    def __init__(self, *, ends_when_live: bool) -> None:
        self._ends_when_live = ends_when_live

    def first_frames(
        self, opening: Mapping[str, Any], cursor: bytes, retry_ms: int, encoder: EventEncoder
    ) -> bytes:
        return b""

    def on_live(self) -> None:
        if self._ends_when_live:
            self.end_reason = CloseReason.POLLED

    def last_body(self, reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes | None:
        if reason is CloseReason.POLLED:
            return None
        return super().last_body(reason, retry_ms, encoder)


def encode_reset(channel: Channel, reason: str, encoder: EventEncoder) -> bytes:
    """Return the body of `hub.reset`. reason: `epoch` or `trimmed`."""
    return encoder.encode("hub.reset", encode_json({"channel": channel, "reason": reason}))


def encode_bye(reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes:
    """Return the body of `hub.bye`."""
    data = {"reason": reason.label, "reconnect": reason.reconnect, "retry_ms": retry_ms}
    return encoder.encode("hub.bye", encode_json(data))
