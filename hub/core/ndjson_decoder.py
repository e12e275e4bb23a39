"""Newline-delimited JSON from bytes, a line an event: what Ollama and many gateways send."""

from __future__ import annotations

from hub.core.sse_decoder import ServerSentEvent, StreamTooLarge


class NdjsonDecoder:
    """Feed it chunks as they come; it gives the lines that became complete, empty ones left out.

    max_line_bytes: without the line's end.
    """

    def __init__(self, *, max_line_bytes: int = 1024 * 1024) -> None:
        self._max_line_bytes = max_line_bytes
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The lines that end in this chunk, each as an event's data. Raises StreamTooLarge."""
        *lines, rest = chunk.split(b"\n")
        events: list[ServerSentEvent] = []
        for line in lines:
            self._keep(line, events)
            data = self._pending.strip(b"\r\t ").decode("utf-8", "replace")
            self._pending.clear()
            if data:
                events.append(ServerSentEvent("message", data, ""))
        self._keep(rest, events)
        return events

    def end(self) -> list[ServerSentEvent]:
        """The last line, which may lack its end; nothing is fed after this."""
        return self.feed(b"\n")

    def _keep(self, piece: bytes, complete: list[ServerSentEvent]) -> None:
        if len(self._pending) + len(piece) > self._max_line_bytes:
            error = StreamTooLarge(f"a line is longer than {self._max_line_bytes} bytes")
            error.events = complete
            raise error
        self._pending += piece
