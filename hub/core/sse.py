"""Server-sent events as bytes: what the hub writes.

The rules are those of the WHATWG HTML standard, section 9.2 "Server-sent events", narrowed to
what every known client survives: LF only, no byte order mark, `retry:` and `id:` only inside an
event that has data, every event closed by a blank line, a heartbeat that is one comment line
without a blank line after it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

HEARTBEAT: Final = b": hb\n"

_LINE_END = re.compile(r"\r\n|\r|\n")


def encode_event(name: str, data: bytes) -> bytes:
    """The `event:` and `data:` lines and the closing blank line; no `id:`.

    `data` is compact JSON. A JSON string is shown as it is, each of its lines in a `data:` field;
    everything else is one line of JSON.
    """
    if data[:1] == b'"':
        if b"\\" in data:
            lines = _LINE_END.split(msgspec.json.decode(data, type=str))
            data = "\ndata: ".join(lines).encode()
        else:
            data = data[1:-1]  # nothing is escaped: no line end either
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def with_id(body: bytes, cursor: bytes | None) -> bytes:
    """The event with its `id:`, or without one when it has no place to resume from."""
    return b"id: %b\n%b" % (cursor, body) if cursor else body


def with_retry(body: bytes, retry_ms: int) -> bytes:
    """The event with the time that a client should wait before it reconnects."""
    return b"retry: %d\n%b" % (retry_ms, body)
