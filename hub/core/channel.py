"""Channels: their names, the rules for names, and the partition of a channel.

A channel is `user:<id>`, `topic:<name>` or `all`. Names are compared exactly and never normalised:
two texts that look alike can be two users. A channel's partition decides the hash tag of every
Redis key and pub/sub channel that belongs to it, so that one script can touch them all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Annotated, Final, NewType

import msgspec

from hub.error_codes import INVALID_TOPIC, INVALID_USER_ID
from hub.errors import BadRequest

Channel = NewType("Channel", str)

ALL: Final = Channel("all")
PARTITIONS: Final = 128

OPERATOR: Final = "hub operator"
"""The name of operators where events name a user: no user id has white space."""
CONSOLE_USER: Final = "hub console"
"""The user of the console's streams. Nobody sees it in topics or among the connected users."""

MAX_NAME_CHARS: Final = 256
USER_ID_RULE: Final = f"1 to {MAX_NAME_CHARS} printable characters without white space"
TOPIC_RULE: Final = f"{USER_ID_RULE}, commas and asterisks"
_NOT_IN_A_TOPIC: Final = frozenset(",*")


def _schema(characters: str) -> dict[str, object]:
    """Return the rule for OpenAPI as far as a pattern can express it."""
    return {"minLength": 1, "maxLength": MAX_NAME_CHARS, "pattern": f"^{characters}+$"}


UserId = Annotated[str, msgspec.Meta(description=USER_ID_RULE, extra_json_schema=_schema(r"[^\s]"))]
TopicName = Annotated[
    str, msgspec.Meta(description=TOPIC_RULE, extra_json_schema=_schema(r"[^\s,*]"))
]


def check_user_id(text: str, *, path: str | None = None) -> str:
    """Return `text` if it is a user id, else raise BadRequest that names the rule."""
    if not _is_name(text):
        raise BadRequest(f"a user id has {USER_ID_RULE}", code=INVALID_USER_ID, path=path)
    return text


def check_topic(text: str, *, path: str | None = None) -> str:
    """Return `text` if it is a topic name, else raise BadRequest that names the rule."""
    if not _is_name(text) or not _NOT_IN_A_TOPIC.isdisjoint(text):
        raise BadRequest(f"a topic name has {TOPIC_RULE}", code=INVALID_TOPIC, path=path)
    return text


def _is_name(text: str) -> bool:
    # For Python, the blank is the only printable white space; surrogates are not printable.
    return 1 <= len(text) <= MAX_NAME_CHARS and " " not in text and text.isprintable()


def user_channel(user: str) -> Channel:
    """Return the channel of a user; the caller has checked the user id."""
    return Channel(f"user:{user}")


def topic_channel(topic: str) -> Channel:
    """Return the channel of a topic; the caller has checked the name."""
    return Channel(f"topic:{topic}")


def channel_for(user: str, topic: str | None) -> Channel:
    """Return the channel of a topic, that of the user if there is no topic."""
    return user_channel(user) if topic is None else topic_channel(topic)


def allows_topic(patterns: Iterable[str], topic: str) -> bool:
    """Return whether a pattern matches a topic: its name, or its beginning and `*`."""
    return any(
        pattern == topic or (pattern.endswith("*") and topic.startswith(pattern[:-1]))
        for pattern in patterns
    )


def topics_among(channels: Iterable[Channel]) -> list[str]:
    """Return the topic names of those channels that are topics."""
    prefix = topic_channel("")
    return [channel.removeprefix(prefix) for channel in channels if channel.startswith(prefix)]


def user_of_channel(channel: Channel) -> str | None:
    """Return the user whose channel it is, None for other channels."""
    prefix = user_channel("")
    return channel.removeprefix(prefix) if channel.startswith(prefix) else None


def partition_of(channel: Channel) -> int:
    """Return the channel's partition, 0 to 127: CRC-32 of the name modulo 128."""
    return zlib.crc32(channel.encode()) % PARTITIONS
