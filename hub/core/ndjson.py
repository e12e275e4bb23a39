"""Events as newline-delimited JSON, for clients that cannot parse SSE.

`{"id":"<cursor>","event":"<name>","channel":"<channel>","data":<JSON>}` and LF. An
ephemeral event has no `id`, and the hub's own events have no `channel`. An empty line is a
heartbeat.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

HEARTBEAT: Final = b"\n"


class StreamLine(msgspec.Struct, frozen=True):
    """One line, for OpenAPI and for clients. retry_ms: only in the first line of a connection."""

    event: str
    data: Any
    id: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    retry_ms: int | UnsetType = UNSET


def encode_line(name: str, data: bytes, channel: str = "") -> bytes:
    """Return the line from the event's name on. data: compact JSON without line ends."""
    member = b',"channel":%b' % msgspec.json.encode(channel) if channel else b""
    return b'"event":%b%b,"data":%b}\n' % (msgspec.json.encode(name), member, data)


def with_id(body: bytes, cursor: bytes | None) -> bytes:
    """Return the whole line. A cursor has no characters that JSON escapes."""
    return b'{"id":"%b",%b' % (cursor, body) if cursor else b"{" + body


def with_retry(line: bytes, retry_ms: int) -> bytes:
    """Return the line with the time that a client should wait before it reconnects."""
    return b'{"retry_ms":%d,%b' % (retry_ms, line[1:])
