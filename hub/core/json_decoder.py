"""Decode JSON values that follow each other: one a line, over several lines, or without a line end.

One document that is sent instead of a stream is such a value, too. A value is returned as soon as
its last byte arrives.
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

from hub.core.sse_decoder import ServerSentEvent, StreamTooLarge

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_scan = json.JSONDecoder(strict=False).raw_decode


class JsonDecoder:
    """An incremental decoder: `feed` takes chunks of any size and returns the complete values.

    A line that begins no JSON value is returned as it is. max_value_bytes: the size of a value.
    """

    def __init__(self, *, max_value_bytes: int = 1024 * 1024) -> None:
        self._max_value_bytes = max_value_bytes
        self._line = bytearray()  # the unfinished line
        self._lines = bytearray()  # the complete lines of the unfinished value
        self._depth = 0  # how many brackets of these lines are open

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the values that end in this chunk, each as the data of an event.

        Raise StreamTooLarge.
        """
        *lines, rest = chunk.split(b"\n")
        events: list[ServerSentEvent] = []
        for line in lines:
            self._append(line, events)
            self._end_line(events)
        self._append(rest, events)
        if not self._lines and self._line.endswith((b"}", b"]")) and _is_balanced(self._line):
            self._end_line(events)  # no line end need follow
        return events

    def end(self) -> list[ServerSentEvent]:
        """Return what is left, which may be cut. Nothing may be fed after this."""
        events: list[ServerSentEvent] = []
        self._end_line(events)
        if self._lines:
            events.append(_event(self._lines))
        return events

    def _append(self, part: bytes, complete: list[ServerSentEvent]) -> None:
        if len(self._lines) + len(self._line) + len(part) > self._max_value_bytes:
            error = StreamTooLarge(f"a value is longer than {self._max_value_bytes} bytes")
            error.events = complete
            raise error
        self._line += part

    def _end_line(self, events: list[ServerSentEvent]) -> None:
        line = self._line.strip(b"\r\t ")
        self._line.clear()
        if not line:
            return
        if not self._lines and (not line.startswith((b"{", b"[")) or _is_value(line)):
            events.append(_event(line))
            return
        self._lines += line + b"\n"
        self._depth += _depth(_STRING.sub(b"", line))  # a string does not extend over lines
        if self._depth <= 0:
            events += _split(self._lines)
            self._lines.clear()
            self._depth = 0


def _is_value(line: bytes | bytearray) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _is_balanced(line: bytes | bytearray) -> bool:
    """Return whether the line is one or several values, by its brackets."""
    bare = _STRING.sub(b"", line)
    return line.lstrip().startswith((b"{", b"[")) and b'"' not in bare and _depth(bare) == 0


def _depth(bare: bytes | bytearray) -> int:
    """Return how many brackets are open at the end of JSON without its strings."""
    return sum(map(bare.count, (b"{", b"["))) - sum(map(bare.count, (b"}", b"]")))


def _split(values: bytes | bytearray) -> list[ServerSentEvent]:
    """Split values that stand beside each other. What is no JSON is returned as one event."""
    text = values.decode("utf-8", "replace").strip()
    events: list[ServerSentEvent] = []
    while text:
        try:
            _, end = _scan(text)
        except (ValueError, RecursionError):
            end = len(text)
        events.append(ServerSentEvent("message", text[:end], ""))
        text = text[end:].lstrip()
    return events


def _event(data: bytes | bytearray) -> ServerSentEvent:
    return ServerSentEvent("message", data.decode("utf-8", "replace").strip(), "")
