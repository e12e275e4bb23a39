"""Positions and cursors: the place of an event in its channel, and of a client in its channels.

A position is an epoch and an offset. Offsets count 1, 2, 3 … without a gap within one epoch; a new
epoch means that the channel's log was lost and started again. Offset 0 is before the first event.

A cursor holds one position for each channel that a connection follows. It is the SSE `id:` and
opaque to clients. Its text is short, because it is sent with every event:

    cursor   = [ position ] [ "*" position ] *( "~" tag ":" position ) "."
               the user's own channel, then "*" `all`, then "~" each topic
    position = epoch "-" offset         both in base 62
    tag      = 6 characters: a digest of the topic's name

Rules:
1. Equal positions have equal text, whatever the order of the channels.
2. Parsing never guesses: any other text raises BadRequest. The "." at the end shows that the cursor
   is whole: no beginning of a cursor is a cursor, so a cursor that a client read from half a line
   is never taken for another position.
3. Parsing ignores positions of channels that the connection does not follow. A channel without a
   position begins live.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from hub.core.channel import ALL, Channel
from hub.error_codes import INVALID_CURSOR
from hub.errors import BadRequest

EPOCH_CHARS: Final = 5
MAX_CURSOR_CHARS: Final = 64 * 1024  # more than any request may carry
CURSOR_END: Final = "."

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_PAIRS: Final = [high + low for high in _DIGITS for low in _DIGITS]
_POSITION: Final = r"([0-9A-Za-z]{5})-([0-9A-Za-z]{1,9})"
_CURSOR: Final = re.compile(
    rf"(?!\.)(?:{_POSITION})?(?:\*{_POSITION})?((?:~[0-9A-Za-z]{{6}}:{_POSITION})*)\."
)
_TOPIC_POSITION: Final = re.compile(rf"~([0-9A-Za-z]{{6}}):{_POSITION}")


class Position(msgspec.Struct, frozen=True, gc=False):
    """The place of an event in its channel. Offset 0 is before the first event."""

    epoch: str
    offset: int


Cursor = Mapping[Channel, Position]

UNKNOWN: Final = Position("0" * EPOCH_CHARS, 0)
"""A position that no log can continue, because no epoch has this text."""


def is_behind(position: Position, head: Position | None) -> bool:
    """Return whether a position lacks events of a channel up to its head.

    head: the position of the newest event, None when the channel has no events. Another epoch
    counts as behind: only reading the log tells what is missing.
    """
    if head is None:
        return position.offset > 0
    return position.offset < head.offset or position.epoch != head.epoch


def new_epoch() -> str:
    """Return a new epoch: 5 random characters of base 62.

    Nobody can guess it: a cursor of a user's stream lets a client use a ticket again.
    """
    return to_base62(1 + secrets.randbelow(62**EPOCH_CHARS - 1)).rjust(EPOCH_CHARS, "0")


def format_position(position: Position) -> str:
    """Return a position as text: `7kQ2x-4C`."""
    return f"{position.epoch}-{to_base62(position.offset)}"


def format_cursor(positions: Cursor) -> str:
    """Return the text of a cursor. The channels may be in any order."""
    channels = positions if len(positions) == 1 else _ordered(positions)
    parts = [format_part(channel, positions[channel]) for channel in channels]
    return "".join(parts) + CURSOR_END


def format_part(channel: Channel, position: Position) -> str:
    """Return one channel's part of a cursor."""
    return f"{part_prefix(channel)}{position.epoch}-{to_base62(position.offset)}"


@lru_cache(maxsize=4096)  # the digest of a topic costs more than the rest of the cursor
def part_prefix(channel: Channel) -> str:
    """Return the text before the channel's position in a cursor."""
    if channel == ALL:
        return "*"
    return f"~{channel_tag(channel)}:" if channel.startswith("topic:") else ""


def parse_cursor(text: str, channels: Iterable[Channel]) -> dict[Channel, Position]:
    """Return the positions in `text` of those `channels` that it contains.

    Raise BadRequest if `text` is not a cursor.
    """
    match = _CURSOR.fullmatch(text) if 0 < len(text) <= MAX_CURSOR_CHARS else None
    if match is None:
        raise BadRequest("this is not a cursor of the hub", code=INVALID_CURSOR, path="cursor")
    own = _parse_position(match[1], match[2]) if match[1] else None
    shared = _parse_position(match[3], match[4]) if match[3] else None
    topics = {tag: _parse_position(e, o) for tag, e, o in _TOPIC_POSITION.findall(match[5])}
    positions: dict[Channel, Position] = {}
    for channel in channels:
        if channel == ALL:
            position = shared
        elif channel.startswith("topic:"):
            position = topics.get(channel_tag(channel))
        else:
            position = own
        if position is not None:
            positions[channel] = position
    return positions


def _ordered(channels: Iterable[Channel]) -> list[Channel]:
    """Return the user's own channel, then `all`, then the topics by name."""
    return sorted(channels, key=lambda c: (c.startswith("topic:"), c == ALL, c))


def channel_tag(channel: Channel) -> str:
    """Return 6 characters that stand for a topic: a digest of its name."""
    digest = int.from_bytes(hashlib.blake2b(channel.encode(), digest_size=5).digest())
    return to_base62(digest % 62**6).rjust(6, "0")


def _parse_position(epoch: str, offset: str) -> Position:
    value = 0
    for digit in offset:
        value = value * 62 + _VALUES[digit]
    return Position(epoch, value)


def to_base62(value: int) -> str:
    """Return an offset as cursors show it."""
    text = ""
    while value >= 62 * 62:
        value, pair = divmod(value, 62 * 62)
        text = _PAIRS[pair] + text
    return (_PAIRS[value] if value >= 62 else _DIGITS[value]) + text
