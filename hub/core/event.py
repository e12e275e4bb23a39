"""Events, and the rules for what a publisher may put into one.

`data` is stored as compact JSON, whatever its form in the request; a transport that sends a string
as plain text decodes it. It contains no raw line break, and none of U+0085, U+2028 and U+2029,
which are line breaks for clients that split lines by Unicode's rules.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.error_codes import INVALID_EVENT_NAME, INVALID_IDEMPOTENCY_KEY
from hub.errors import BadRequest

MAX_NAME_CHARS: Final = 128
MAX_ID_CHARS: Final = 256

_LINE_BREAK = re.compile(r"[\r\n\0]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # also stands for a byte that is not UTF-8
_RESERVED: Final = ("hub.", "generation.", "presence.", "inbox.")
_UNICODE_LINE_ENDS: Final = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One message in a channel.

    data: compact JSON in UTF-8.
    position: None for an ephemeral event, which is delivered live and never replayed.
    trace: the trace context of its publication; only live events have it, stored ones do not.
    continues: of a live event that is the first one of its epoch, the epochs that end directly
    before it: a reader that has everything of one of them misses nothing.
    """

    channel: Channel
    name: str
    data: bytes
    position: Position | None
    trace: str = ""
    continues: tuple[str, ...] = ()

    def follows(self, position: Position) -> bool:
        """Return whether it is the next stored event after a position of its channel."""
        at = self.position
        return (
            at is not None
            and at.offset == position.offset + 1
            and (at.epoch == position.epoch or position.epoch in self.continues)
        )


@lru_cache(maxsize=1024)  # a product has few names and many events
def check_event_name(name: str, *, path: str = "event") -> str:
    """Return `name` if a publisher may use it, else raise BadRequest that names the rule."""
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise BadRequest(
            f"an event name has 1 to {MAX_NAME_CHARS} characters",
            code=INVALID_EVENT_NAME,
            path=path,
        )
    if _LINE_BREAK.search(name):
        raise BadRequest(
            "an event name must not contain CR, LF or NUL", code=INVALID_EVENT_NAME, path=path
        )
    if name.startswith(_RESERVED):
        raise BadRequest(
            "event names that begin with hub., generation., presence. or inbox. are reserved",
            code=INVALID_EVENT_NAME,
            path=path,
        )
    return name


def check_idempotency_key(key: str, *, path: str = "id") -> str:
    """Return `key` if it can be an idempotency key, else raise BadRequest that names the rule."""
    if not 1 <= len(key) <= MAX_ID_CHARS:
        raise BadRequest(
            f"an idempotency key has 1 to {MAX_ID_CHARS} characters",
            code=INVALID_IDEMPOTENCY_KEY,
            path=path,
        )
    if _LINE_BREAK.search(key):
        raise BadRequest(
            "an idempotency key must not contain CR, LF or NUL",
            code=INVALID_IDEMPOTENCY_KEY,
            path=path,
        )
    if _SURROGATE.search(key):
        raise BadRequest(
            "an idempotency key must be valid UTF-8", code=INVALID_IDEMPOTENCY_KEY, path=path
        )
    return key


def digest(data: bytes, *words: str) -> str:
    """Return 16 hexadecimal digits that tell whether a repeated request is the same.

    data: JSON; the order of the fields of an object does not count. words: what belongs to it.
    """
    try:
        canonical = msgspec.json.encode(msgspec.json.decode(data), order="sorted")
    except msgspec.DecodeError:  # valid JSON with a number that no float can hold, such as 1e309
        canonical = data
    text = "\n".join(words).encode()
    return hashlib.blake2b(text + b"\n" + canonical, digest_size=8).hexdigest()


def compact_json(raw: bytes | msgspec.Raw) -> bytes:
    """Return JSON text on one line without spaces, with Unicode's line ends escaped.

    Numbers keep their form. Raise msgspec.DecodeError if `raw` is not JSON.
    """
    text: bytes = msgspec.json.format(raw, indent=-1)
    return text if text.isascii() else _escape_line_ends(text)


def encode_json(value: object) -> bytes:
    """Return a Python value as compact JSON, as compact_json does."""
    text = msgspec.json.encode(value)
    return text if text.isascii() else _escape_line_ends(text)


def _escape_line_ends(text: bytes) -> bytes:
    for raw, escaped in _UNICODE_LINE_ENDS:
        text = text.replace(raw, escaped)
    return text
