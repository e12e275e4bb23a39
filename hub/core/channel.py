"""Channels: where events go. Names, their rules, and the partition each one belongs to.

A channel is `user:<id>`, `topic:<name>` or `all`. Its partition decides the hash tag of every
Redis key and pub/sub channel that belongs to it, so that one script can touch them all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Annotated, Final, NewType

import msgspec

from hub.errors import BadRequest

Channel = NewType("Channel", str)

ALL: Final = Channel("all")
PARTITIONS: Final = 128

_NAME = re.compile(r"[A-Za-z0-9._@+:\-]{1,128}")
NAME_RULE: Final = "1 to 128 characters of A-Z a-z 0-9 . _ @ + : -"
_SHAPE: Final = {"pattern": f"^{_NAME.pattern}$"}  # for descriptions; check_… says it better

UserId = Annotated[str, msgspec.Meta(description=NAME_RULE, extra_json_schema=_SHAPE)]
TopicName = Annotated[str, msgspec.Meta(description=NAME_RULE, extra_json_schema=_SHAPE)]


def check_user_id(text: str, *, path: str | None = None) -> str:
    """Returns `text` when it is a user id; raises BadRequest that names the rule."""
    if not _NAME.fullmatch(text):
        raise BadRequest(f"a user id has {NAME_RULE}", path=path)
    return text


def check_topic(text: str, *, path: str | None = None) -> str:
    """Returns `text` when it is a topic name; raises BadRequest that names the rule."""
    if not _NAME.fullmatch(text):
        raise BadRequest(f"a topic name has {NAME_RULE}", path=path)
    return text


def user_channel(user: str) -> Channel:
    """The channel of one user; `user` has been checked."""
    return Channel(f"user:{user}")


def topic_channel(topic: str) -> Channel:
    """The channel of one topic; `topic` has been checked."""
    return Channel(f"topic:{topic}")


def topics_among(channels: Iterable[Channel]) -> list[str]:
    """The names of those that are topics."""
    prefix = topic_channel("")
    return [channel.removeprefix(prefix) for channel in channels if channel.startswith(prefix)]


def partition_of(channel: Channel) -> int:
    """The channel's partition, 0 to 127: CRC-32 of the name modulo 128, the same on every node."""
    return zlib.crc32(channel.encode()) % PARTITIONS
