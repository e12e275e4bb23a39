"""Events: one message in a channel, and what a publisher may put into one.

`data` is kept as JSON text in its compact form, whatever the publisher sent: a transport that
shows a string as it is decodes it again. It has no raw line break and none of U+0085, U+2028 and
U+2029, which break lines in clients that split on Unicode's rules.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.errors import BadRequest

MAX_NAME_CHARS: Final = 128
MAX_ID_CHARS: Final = 256

_BREAKS_A_LINE = re.compile(r"[\r\n\0]")
_RESERVED: Final = ("hub.", "generation.", "presence.")
_UNICODE_LINE_ENDS: Final = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One message in a channel.

    `data` is compact JSON in UTF-8. `position` is None for an ephemeral event: it is delivered to
    whoever listens now, and never replayed. `trace` is what its publication carried, and is heard
    only: a stored event has none.
    """

    channel: Channel
    name: str
    data: bytes
    position: Position | None
    trace: str = ""


@lru_cache(maxsize=1024)  # a product has few names and many events
def check_event_name(name: str, *, path: str = "event") -> str:
    """Returns `name` when a publisher may use it; raises BadRequest that names the rule."""
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise BadRequest(f"an event name has 1 to {MAX_NAME_CHARS} characters", path=path)
    if _BREAKS_A_LINE.search(name):
        raise BadRequest("an event name has no CR, LF or NUL", path=path)
    if name.startswith(_RESERVED):
        said = "event names beginning with hub., generation. and presence. are the hub's"
        raise BadRequest(said, path=path)
    return name


def check_idempotency_key(key: str, *, path: str = "id") -> str:
    """Returns `key` when it can name one publish or generation; raises BadRequest otherwise."""
    if not 1 <= len(key) <= MAX_ID_CHARS:
        raise BadRequest(f"an idempotency key has 1 to {MAX_ID_CHARS} characters", path=path)
    if _BREAKS_A_LINE.search(key):
        raise BadRequest("an idempotency key has no CR, LF or NUL", path=path)
    return key


def compact_json(raw: bytes | msgspec.Raw) -> bytes:
    """JSON text as one line without spaces, with Unicode's line ends escaped.

    Numbers stay as they were written. Raises msgspec.DecodeError when `raw` is not JSON.
    """
    return _escape_line_ends(msgspec.json.format(raw, indent=-1))


def encode_json(value: object) -> bytes:
    """A Python value as the same compact form."""
    return _escape_line_ends(msgspec.json.encode(value))


def _escape_line_ends(text: bytes) -> bytes:
    if text.isascii():
        return text
    for raw, escaped in _UNICODE_LINE_ENDS:
        text = text.replace(raw, escaped)
    return text
