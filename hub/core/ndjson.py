"""Events as newline-delimited JSON: what clients read that cannot parse SSE.

`{"id":"<cursor>","event":"<name>","channel":"<channel>","data":<JSON>}` and LF; no `id` where an
event has no place to resume from, no `channel` in the hub's own events. An empty line is a
heartbeat.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

HEARTBEAT: Final = b"\n"


class StreamLine(msgspec.Struct, frozen=True):
    """One line, for descriptions and readers. retry_ms: in the first line of a connection."""

    event: str
    data: Any
    id: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    retry_ms: int | UnsetType = UNSET


def encode_line(name: str, data: bytes, channel: str = "") -> bytes:
    """The line from its event's name on. `data` is compact JSON, without line ends."""
    place = b',"channel":%b' % msgspec.json.encode(channel) if channel else b""
    return b'"event":%b%b,"data":%b}\n' % (msgspec.json.encode(name), place, data)


def with_id(body: bytes, cursor: bytes | None) -> bytes:
    """The whole line; a cursor has nothing that JSON escapes."""
    return b'{"id":"%b",%b' % (cursor, body) if cursor else b"{" + body


def with_retry(line: bytes, retry_ms: int) -> bytes:
    """The line with the time that a client should wait before it returns."""
    return b'{"retry_ms":%d,%b' % (retry_ms, line[1:])
