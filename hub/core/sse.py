"""Encode server-sent events as the hub sends them.

The format is that of the WHATWG HTML standard, section 9.2 "Server-sent events", restricted to what
every known client handles: LF only, no byte order mark, `retry:` and `id:` only inside an event
that has data, a blank line after every event, and a heartbeat that is one comment line without a
blank line after it. `id:` is the last field: some clients adopt an id as soon as they have read its
line, and a connection that is cut after it would lose the rest of the event.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

HEARTBEAT: Final = b": hb\n"

_BACKSLASH: Final = 0x5C
_LINE_END = re.compile(r"\r\n|\r|\n")


def encode_event(name: str, data: bytes, channel: str = "") -> bytes:
    """Return the `event:` and `data:` lines and the blank line after them, without `id:`.

    data: compact JSON. A JSON string is sent decoded, each of its lines in a `data:` field; any
    other value is one line of JSON. channel: is not sent.
    """
    if data[:1] == b'"':
        if _BACKSLASH in data:  # bytes would first be tried as a number, which costs an exception
            lines = _LINE_END.split(msgspec.json.decode(data, type=str))
            data = "\ndata: ".join(lines).encode()
        else:
            data = data[1:-1]  # without an escape there is no line end
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def with_id(body: bytes, cursor: bytes | None) -> bytes:
    """Return the event with its `id:`; without one when the cursor is None."""
    return b"%bid: %b\n\n" % (body[:-1], cursor) if cursor else body


def with_retry(body: bytes, retry_ms: int) -> bytes:
    """Return the event with the time that a client should wait before it reconnects."""
    return b"retry: %d\n%b" % (retry_ms, body)
