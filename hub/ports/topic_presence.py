"""Which users follow a topic, on which nodes."""

from __future__ import annotations

from collections.abc import (
    Sequence,
)
from typing import NamedTuple, Protocol

from hub.core.channel import Channel


class PresenceChange(NamedTuple):
    """Users who began to follow a topic, and who follow it no more; how many follow it now."""

    joined: Sequence[str]
    left: Sequence[str]
    users: int


class PresenceStore(Protocol):
    """On which nodes each user follows a topic. Raises BrokerUnavailable."""

    async def update(
        self,
        channel: Channel,
        node: str,
        present: Sequence[str],
        absent: Sequence[str],
        *,
        seconds: float,
    ) -> PresenceChange:
        """These users follow it on this node, for so long unless it is said again; those are gone.
        Entries of any node that are over leave now.
        """
        ...
