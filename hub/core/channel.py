"""Channels: their names, the rules for names, and the partition of a channel.

A channel is `user:<id>`, `topic:<name>` or `all`. Its partition decides the hash tag of every
Redis key and pub/sub channel that belongs to it, so that one script can touch them all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Annotated, Final, NewType

import msgspec

from hub.error_codes import INVALID_TOPIC, INVALID_USER_ID
from hub.errors import BadRequest

Channel = NewType("Channel", str)

ALL: Final = Channel("all")
PARTITIONS: Final = 128

_NAME = re.compile(r"[A-Za-z0-9._@+:\-]{1,128}")
NAME_RULE: Final = "1 to 128 characters of A-Z a-z 0-9 . _ @ + : -"
_SCHEMA: Final = {
    "pattern": f"^{_NAME.pattern}$"
}  # for OpenAPI; the check_… functions name the rule

UserId = Annotated[str, msgspec.Meta(description=NAME_RULE, extra_json_schema=_SCHEMA)]
TopicName = Annotated[str, msgspec.Meta(description=NAME_RULE, extra_json_schema=_SCHEMA)]


def check_user_id(text: str, *, path: str | None = None) -> str:
    """Return `text` if it is a user id, else raise BadRequest that names the rule."""
    if not _NAME.fullmatch(text):
        raise BadRequest(f"a user id has {NAME_RULE}", code=INVALID_USER_ID, path=path)
    return text


def check_topic(text: str, *, path: str | None = None) -> str:
    """Return `text` if it is a topic name, else raise BadRequest that names the rule."""
    if not _NAME.fullmatch(text):
        raise BadRequest(f"a topic name has {NAME_RULE}", code=INVALID_TOPIC, path=path)
    return text


def user_channel(user: str) -> Channel:
    """Return the channel of a user; the caller has checked the user id."""
    return Channel(f"user:{user}")


def topic_channel(topic: str) -> Channel:
    """Return the channel of a topic; the caller has checked the name."""
    return Channel(f"topic:{topic}")


def topics_among(channels: Iterable[Channel]) -> list[str]:
    """Return the topic names of those channels that are topics."""
    prefix = topic_channel("")
    return [channel.removeprefix(prefix) for channel in channels if channel.startswith(prefix)]


def partition_of(channel: Channel) -> int:
    """Return the channel's partition, 0 to 127: CRC-32 of the name modulo 128."""
    return zlib.crc32(channel.encode()) % PARTITIONS
