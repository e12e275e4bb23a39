"""Decode text with one event a line. json_decoder.py decodes lines of JSON."""

from __future__ import annotations

from hub.core.sse_decoder import ServerSentEvent, StreamTooLarge


class LineDecoder:
    """An incremental decoder: `feed` takes chunks of any size and returns the complete lines.

    Empty lines are skipped. max_line_bytes: the length of a line without its end.
    """

    def __init__(self, *, max_line_bytes: int = 1024 * 1024) -> None:
        self._max_line_bytes = max_line_bytes
        self._pending = bytearray()  # the unfinished line

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the lines that end in this chunk, each as the data of an event.

        Raise StreamTooLarge.
        """
        *lines, rest = chunk.split(b"\n")
        events: list[ServerSentEvent] = []
        for line in lines:
            self._append(line, events)
            data = self._pending.strip(b"\r\t ").decode("utf-8", "replace")
            self._pending.clear()
            if data:
                events.append(ServerSentEvent("message", data, ""))
        self._append(rest, events)
        return events

    def end(self) -> list[ServerSentEvent]:
        """Return the last line, which may lack its end. Nothing may be fed after this."""
        return self.feed(b"\n")

    def _append(self, part: bytes, complete: list[ServerSentEvent]) -> None:
        if len(self._pending) + len(part) > self._max_line_bytes:
            error = StreamTooLarge(f"a line is longer than {self._max_line_bytes} bytes")
            error.events = complete
            raise error
        self._pending += part
