"""Positions and cursors: where an event stands in its channel, and where a connection stands.

A position is an epoch and an offset. Offsets count 1, 2, 3 … without a hole in the life of one
epoch; a new epoch means that the channel's log began anew. Position 0 is the one before the first.

A cursor holds one position for each channel that a connection follows. It is the SSE `id:` and
opaque to clients. Its text is as short as it can be, for it goes out with every event:

    cursor  = [ place ] [ "*" place ] *( "~" tag ":" place )
    place   = epoch "-" offset          both in base 62
              the user's own channel, then "*" `all`, then "~" each topic
    tag     = 6 characters: a digest of the topic's name

Rules:
1. The text is a function of the positions: equal positions, equal text, whatever the order.
2. Parsing never guesses: what is not exactly such a text raises BadRequest.
3. A position for a channel that the connection does not follow is left out; a channel without one
   begins live.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from hub.core.channel import ALL, Channel
from hub.errors import BadRequest

EPOCH_CHARS: Final = 5
MAX_CURSOR_CHARS: Final = 4096

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_PAIRS: Final = [high + low for high in _DIGITS for low in _DIGITS]
_PLACE: Final = r"([0-9A-Za-z]{5})-([0-9A-Za-z]{1,9})"
_CURSOR: Final = re.compile(rf"(?:{_PLACE})?(?:\*{_PLACE})?((?:~[0-9A-Za-z]{{6}}:{_PLACE})*)")
_TOPIC_PLACE: Final = re.compile(rf"~([0-9A-Za-z]{{6}}):{_PLACE}")


class Position(msgspec.Struct, frozen=True, gc=False):
    """An event's place in its channel. `offset` 0 stands before the first event."""

    epoch: str
    offset: int


Cursor = Mapping[Channel, Position]


def new_epoch() -> str:
    """A fresh epoch: 5 characters of base 62, one of 916 million. It is no secret."""
    return to_base62(random.randrange(62**EPOCH_CHARS)).rjust(EPOCH_CHARS, "0")


def format_place(position: Position) -> str:
    """A position as text: `7kQ2x-4C`."""
    return f"{position.epoch}-{to_base62(position.offset)}"


def format_cursor(positions: Cursor) -> str:
    """The cursor's text. Channels may come in any order."""
    return "".join(format_part(channel, positions[channel]) for channel in _ordered(positions))


def format_part(channel: Channel, position: Position) -> str:
    """One channel's part of a cursor, which is a cursor of its own."""
    return part_prefix(channel) + format_place(position)


def part_prefix(channel: Channel) -> str:
    """What stands in a cursor in front of the channel's place."""
    if channel == ALL:
        return "*"
    return f"~{_tag(channel)}:" if channel.startswith("topic:") else ""


def parse_cursor(text: str, channels: Iterable[Channel]) -> dict[Channel, Position]:
    """The positions in `text` for those of `channels` that it speaks of.

    Raises BadRequest when `text` is not a cursor.
    """
    match = _CURSOR.fullmatch(text) if 0 < len(text) <= MAX_CURSOR_CHARS else None
    if match is None:
        raise BadRequest("this is not a cursor of the hub", path="cursor")
    own = _position(match[1], match[2]) if match[1] else None
    everyone = _position(match[3], match[4]) if match[3] else None
    topics = {tag: _position(e, o) for tag, e, o in _TOPIC_PLACE.findall(match[5])}
    found: dict[Channel, Position] = {}
    for channel in channels:
        if channel == ALL:
            position = everyone
        elif channel.startswith("topic:"):
            position = topics.get(_tag(channel))
        else:
            position = own
        if position is not None:
            found[channel] = position
    return found


def _ordered(channels: Iterable[Channel]) -> list[Channel]:
    """The user's own channel, then `all`, then the topics by name."""
    return sorted(channels, key=lambda c: (c.startswith("topic:"), c == ALL, c))


def _tag(channel: Channel) -> str:
    digest = int.from_bytes(hashlib.blake2b(channel.encode(), digest_size=5).digest())
    return to_base62(digest % 62**6).rjust(6, "0")


def _position(epoch: str, offset: str) -> Position:
    value = 0
    for digit in offset:
        value = value * 62 + _VALUES[digit]
    return Position(epoch, value)


def to_base62(value: int) -> str:
    """An offset as a cursor shows it."""
    text = ""
    while value >= 62 * 62:
        value, pair = divmod(value, 62 * 62)
        text = _PAIRS[pair] + text
    return (_PAIRS[value] if value >= 62 else _DIGITS[value]) + text
