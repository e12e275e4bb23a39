"""Decode server-sent events, in this client and in the server, which reads those of upstreams.

The decoder is incremental and follows the WHATWG HTML standard, section 9.2.6 "Interpreting an
event stream": any split of the bytes gives the same events. Bytes are split into lines before they
are decoded, so that a character that two chunks share is decoded correctly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_MAX_RETRY_MS: Final = 10**12


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event, as the standard dispatches it.

    id: the last event id of the stream at this event. retry_ms: the reconnection time, if the
    stream has set one since the previous event.
    """

    name: str
    data: str
    id: str
    retry_ms: int | None = None


class StreamTooLarge(ValueError):
    """A line or an event exceeds the decoder's limit. The decoder cannot be used after this.

    events: the complete events of the same chunk before it, so that they do not depend on where
    the network split the bytes.
    """

    events: Sequence[ServerSentEvent] = ()


class SseDecoder:
    """An incremental decoder: `feed` takes chunks of any size and returns the complete events.

    max_line_bytes: the length of a line without its end. max_event_bytes: all data of one event.
    Three options deviate from the standard, for servers that do. keep_space: the space after
    `data:` belongs to the data. dispatch_empty: an event that has a name but no data is returned.
    dispatch_unfinished: `end` returns the last event without its blank line. A last line
    without its end may be cut, so it counts only if it ends like a JSON object.
    """

    def __init__(
        self,
        *,
        max_line_bytes: int = 1024 * 1024,
        max_event_bytes: int = 4 * 1024 * 1024,
        keep_space: bool = False,
        dispatch_empty: bool = False,
        dispatch_unfinished: bool = False,
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        self._plain_start = 5 if keep_space else 6  # where the data begins after `data: `
        self._keep_space = keep_space
        self._dispatch_empty = dispatch_empty
        self._dispatch_unfinished = dispatch_unfinished
        # The longest chunk that `_take_plain` takes: none of its lines is too long.
        self._max_plain_bytes = min(max_line_bytes, max_event_bytes + self._plain_start - 1)
        self._pending = bytearray()  # the unfinished line
        self._after_cr = (
            False  # whether the last line ended with CR: a LF that follows belongs to it
        )
        self._start: bytes | None = b""  # the first bytes, until it is clear whether they are a BOM
        self._data: list[str] = []  # the data lines of the unfinished event
        self._data_bytes = 0
        self._name = ""  # the name of the unfinished event
        self._id = ""  # the standard's "last event ID buffer"; an unfinished event may have set it
        self._retry_ms: int | None = None  # for the next event
        self.last_event_id = ""  # of the last complete block; a reconnection resumes from it

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that end in this chunk. Raise StreamTooLarge."""
        if self._start is not None:
            chunk = self._start + chunk
            if _BOM.startswith(chunk):
                self._start = chunk if len(chunk) < len(_BOM) else None
                return []
            self._start = None
            chunk = chunk.removeprefix(_BOM)
        events: list[ServerSentEvent] = []
        if not (self._pending or self._data or self._name or self._after_cr):
            events, chunk = self._take_plain(chunk)
            if not chunk:
                return events
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        try:
            # bytes.splitlines splits at exactly the standard's three line ends: CRLF, LF, CR.
            for line in chunk.splitlines(keepends=True):
                if line.endswith((b"\n", b"\r")):
                    event = self._end_line(line.rstrip(b"\r\n"))
                    if event is not None:
                        events.append(event)
                else:
                    self._check_line(line)
                    self._pending += line
        except StreamTooLarge as error:
            error.events = events
            raise
        self._after_cr = chunk.endswith(b"\r") or (self._after_cr and not chunk)
        return events

    def end(self) -> list[ServerSentEvent]:
        """Return no events: the standard drops an event that is unfinished at the stream's end."""
        if not self._dispatch_unfinished:
            return []
        if self._pending.startswith(b"data:") and self._pending.rstrip(b" ").endswith(b"}"):
            self._end_line(b"")
        event = self._dispatch()
        return [] if event is None else [event]

    def _take_plain(self, chunk: bytes) -> tuple[list[ServerSentEvent], bytes]:
        """Decode the start of a chunk if all of its complete events are plain.

        A plain event is one `data: ` line and a blank line, both ended by LF; LLMs send these. The
        caller has checked that no event is unfinished. Return the events and the rest of the chunk.
        """
        end = chunk.rfind(b"\n\n") + 2
        if end < 2 or end > self._max_plain_bytes or b"\r" in chunk:
            return [], chunk
        *blocks, after = chunk[:end].decode("utf-8", "replace").split("\n\n")
        events: list[ServerSentEvent] = []
        start, id_, retry_ms = self._plain_start, self._id, self._retry_ms
        for block in blocks:
            if "\n" in block or not block.startswith("data: "):
                return [], chunk
            events.append(ServerSentEvent("message", block[start:], id_, retry_ms))
            retry_ms = None
        if after:
            return [], chunk
        self.last_event_id, self._retry_ms = id_, None
        return events, chunk[end:]

    def _check_line(self, part: bytes) -> None:
        if len(self._pending) + len(part) > self._max_line_bytes:
            raise StreamTooLarge(f"a line is longer than {self._max_line_bytes} bytes")

    def _end_line(self, line: bytes) -> ServerSentEvent | None:
        self._check_line(line)
        if self._pending:
            line = bytes(self._pending) + line
            self._pending.clear()
        if not line:
            return self._dispatch()
        name, colon, value = line.partition(b":")
        if colon and not name:
            return None  # a comment
        keeps_space = self._keep_space and name == b"data"
        self._field(name, value if keeps_space else value.removeprefix(b" "))
        return None

    def _field(self, name: bytes, value: bytes) -> None:
        match name:
            case b"data":
                self._data_bytes += len(value) + 1
                if self._data_bytes > self._max_event_bytes:
                    raise StreamTooLarge(f"an event is longer than {self._max_event_bytes} bytes")
                self._data.append(value.decode("utf-8", "replace"))
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit():
                digits = value.lstrip(b"0")  # int() refuses thousands of digits
                self._retry_ms = int(digits or b"0") if len(digits) <= 12 else _MAX_RETRY_MS
            case _:
                pass

    def _dispatch(self) -> ServerSentEvent | None:
        event = None
        self.last_event_id = self._id
        if self._data or (self._name and self._dispatch_empty):
            event = ServerSentEvent(
                self._name or "message", "\n".join(self._data), self._id, self._retry_ms
            )
        # An event without data is not dispatched, but its retry time is valid: the next event has
        # it.
        if event is not None:
            self._retry_ms = None
        self._data.clear()
        self._data_bytes = 0
        self._name = ""
        return event
