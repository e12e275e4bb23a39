"""Who is here: which connections of this node follow which channel.

Rules:
1. A channel is present exactly while at least one connection follows it.
2. Adding or removing twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

from hub.core.channel import Channel

C = TypeVar("C")


class Registry(Generic[C]):
    """A table from channels to the connections that follow them."""

    def __init__(self) -> None:
        self._by_channel: dict[Channel, dict[C, None]] = {}

    def add(self, connection: C, channels: Iterable[Channel]) -> None:
        """The connection follows these channels from now on."""
        for channel in channels:
            self._by_channel.setdefault(channel, {})[connection] = None

    def remove(self, connection: C, channels: Iterable[Channel]) -> list[Channel]:
        """The connection follows them no more. Returns the channels that nobody follows now."""
        empty = []
        for channel in channels:
            followers = self._by_channel.get(channel)
            if followers is None:
                continue
            followers.pop(connection, None)
            if not followers:
                del self._by_channel[channel]
                empty.append(channel)
        return empty

    def followers(self, channel: Channel) -> Collection[C]:
        """The connections that follow the channel, in the order in which they came."""
        return self._by_channel.get(channel, {}).keys()

    def channels(self) -> Collection[Channel]:
        """The channels that somebody follows."""
        return self._by_channel.keys()
