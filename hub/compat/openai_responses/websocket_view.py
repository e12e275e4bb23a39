"""The WebSocket mode of /v1/responses: what a connection shows of its user's channel.

Source: platform.openai.com, guide "WebSocket mode", and the OpenResponses specification of
2026-04-24, "WebSocket Transport". Each event of a response is a text message of JSON, with the
fields that it has over HTTP. A response ends with one event, so a failed one has `response.failed`
alone; the event `error` answers a request that started no response. It has a field `status`.

Rules:
1. At most one response is shown at a time.
2. A response is shown from its first event. The id of a generation is known only when its start
   returns, and events may arrive before: those of generations that begin meanwhile are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from hub.compat.failures import describe_stream_failure
from hub.compat.openai import error_document
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.event import Event, encode_json
from hub.core.generation import ID_CHARS, Generation
from hub.core.websocket import Opcode, encode_frame
from hub.engine.generations.compat_stream import TRIMMED
from hub.engine.generations.generation_stream import data_prefix
from hub.ports.connections import EventEncoder

CONNECTION_LIMIT_REACHED: Final = "websocket_connection_limit_reached"  # OpenAI's name
_MAX_EARLY_EVENTS: Final = 256
_MAX_EARLY_BYTES: Final = 1024 * 1024
_PREFIX_BYTES: Final = len(data_prefix("x" * ID_CHARS))
_FIRST_EVENTS: Final = frozenset({"generation.started", "generation.stopped", "generation.failed"})


class MessageEncoder(ResponsesEncoder):
    """Implements ports.AnswerEncoder; each chunk is a WebSocket frame."""

    def frame(self, kind: str, data: bytes) -> bytes:
        return encode_frame(Opcode.TEXT, data)

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        yield from self.close_all("incomplete")
        yield self.failed_event(describe_stream_failure(self.answer, code, message))


def error_frame(status: int, message: str, *, code: str, param: str | None = None) -> bytes:
    """Return the event `error` for a request that started no response."""
    document = error_document(status, message, code=code, path=param)
    return encode_frame(Opcode.TEXT, encode_json({"type": "error", "status": status, **document}))


class _EarlyEvents:
    """The events of generations that began while the id of one of them is not known yet."""

    def __init__(self) -> None:
        self._events: dict[bytes, list[tuple[str, bytes]]] = {}  # by what their data begins with
        self._count = self._bytes = 0
        self.is_complete = True

    def add(self, event: Event) -> None:
        if not self.is_complete:
            return
        prefix = event.data[:_PREFIX_BYTES]
        if prefix not in self._events and event.name not in _FIRST_EVENTS:
            return
        self._count += 1
        self._bytes += len(event.data)
        if self._count > _MAX_EARLY_EVENTS or self._bytes > _MAX_EARLY_BYTES:
            self.mark_incomplete()
        else:
            self._events.setdefault(prefix, []).append((event.name, event.data))

    def mark_incomplete(self) -> None:
        """Some of the events are missing."""
        self.is_complete = False
        self._events.clear()

    def of(self, generation: str) -> list[tuple[str, bytes]]:
        return self._events.get(data_prefix(generation), [])


class ResponsesView:
    """Implements StreamView for one response after another.

    on_turn_end: called with the encoder of a response that is complete, or that cannot be shown to
    its end.
    """

    can_sync: Final = False
    shows_all_events: Final = False
    uses_hub_events: Final = False
    is_broken: Final = False
    end_reason: Final = None

    def __init__(self) -> None:
        self.on_turn_end: Callable[[MessageEncoder], None] = lambda encoder: None
        self._early: _EarlyEvents | None = None  # see rule 2
        self._encoder: MessageEncoder | None = None  # of the response that is shown
        self._data_prefix = b""

    def expect(self) -> None:
        """Keep the events of generations that begin from now on, until `begin` or `cancel`."""
        self._early = _EarlyEvents()

    def cancel(self) -> None:
        """No generation was started."""
        self._early = None

    def begin(self, record: Generation) -> bytes:
        """Show the response of a generation, and return the frames of its events so far."""
        early, self._early = self._early or _EarlyEvents(), None
        encoder = self._encoder = MessageEncoder(record)
        self._data_prefix = data_prefix(record.id)
        frames = b"".join(encoder.start())
        if not early.is_complete:
            return frames + self._abort("log_trimmed", TRIMMED)
        for name, data in early.of(record.id):
            frames += b"".join(encoder.feed(name, data))
        self._end_if_finished()
        return frames

    def first_frames(
        self, opening: Mapping[str, Any], cursor: bytes, retry_ms: int, encoder: EventEncoder
    ) -> bytes:
        return b""

    def encode(self, event: Event, encoder: EventEncoder) -> bytes | None:
        if not event.name.startswith("generation."):
            return None
        if self._early is not None:
            self._early.add(event)
        if self._encoder is None or not event.data.startswith(self._data_prefix):
            return None
        frames = b"".join(self._encoder.feed(event.name, event.data))
        self._end_if_finished()
        return frames

    def reset(self, channel: Channel, reason: str, encoder: EventEncoder) -> bytes | None:
        """End the response with an error; the connection continues."""
        if self._early is not None:
            self._early.mark_incomplete()
        return None if self._encoder is None else self._abort("log_trimmed", TRIMMED)

    def on_live(self) -> None:
        """Live events follow."""

    def last_body(self, reason: CloseReason, retry_ms: int, encoder: EventEncoder) -> bytes | None:
        """Return an error for a client that must not simply reconnect and continue."""
        self._encoder = self._early = None
        if reason is CloseReason.TOO_OLD:
            message = "the connection has reached its maximum age; open another one"
            return error_frame(400, message, code=CONNECTION_LIMIT_REACHED)
        if reason.reconnect:
            return b""
        message = f"the hub has closed this connection: {reason.label}"
        return error_frame(401, message, code=reason.label)

    def _abort(self, code: str, message: str) -> bytes:
        assert self._encoder is not None
        frames = self._encoder.abort(code, message)
        self._end_if_finished()
        return frames

    def _end_if_finished(self) -> None:
        encoder = self._encoder
        if encoder is not None and encoder.is_finished:
            self._encoder = None
            self.on_turn_end(encoder)
