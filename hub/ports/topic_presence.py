"""The users who follow a topic, over all nodes."""

from __future__ import annotations

from collections.abc import (
    Sequence,
)
from typing import NamedTuple, Protocol

from hub.core.channel import Channel


class PresenceChange(NamedTuple):
    """Users who joined and left a topic, and how many users follow it now."""

    joined: Sequence[str]
    left: Sequence[str]
    users: int


class PresenceStore(Protocol):
    """The nodes on which each user follows a topic. Raises BrokerUnavailable."""

    async def update(
        self,
        channel: Channel,
        node: str,
        present: Sequence[str],
        absent: Sequence[str],
        *,
        seconds: float,
    ) -> PresenceChange:
        """Update the users of one node, atomically, and remove the expired entries of all nodes.

        present: users with a connection on this node; each entry expires after `seconds`.
        absent: users without one. A user joins with the first node and leaves with the last one.
        """
        ...
