"""The users who have a connection, over all nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import msgspec

from hub.core.deliveries import Delivery


class UserChange(msgspec.Struct, frozen=True):
    """A user who has a connection on a node now, or who has none any more.

    deliveries: what to add in the same step if this is the first node of the user, or the last one.
    Their queue is `webhook` and their channel that of the user.
    """

    user: str
    is_present: bool
    deliveries: Sequence[Delivery] = ()


class Renewal(NamedTuple):
    """The result of `renew`.

    is_lost: whether the entries of the node have expired or are gone in a partition. They do not
    come back: the node continues with another name. expired: partitions and names of nodes that
    have not renewed their entries.
    """

    is_lost: bool
    expired: Sequence[tuple[int, str]]


class UserPresenceStore(Protocol):
    """The users of each node. Every method raises BrokerUnavailable.

    node: a name that no other process has used. The entries of a node in a partition expire
    together, and stay stored for an hour so that any node can remove them.
    """

    async def update(
        self, node: str, changes: Sequence[UserChange], *, seconds: float
    ) -> Collection[int]:
        """Add and remove users of a node, and renew its entries in their partitions.

        Return the partitions in which the node had no entries before. One in which they have
        expired is among them, and is not changed.
        """
        ...

    async def renew(self, node: str, partitions: Collection[int], *, seconds: float) -> Renewal:
        """Renew the entries of a node in these partitions, and look for expired ones in all."""
        ...

    async def expired_users(self, partition: int, node: str, limit: int) -> Sequence[str]:
        """Return some users of a node whose entries in the partition have expired.

        Without any, the node is forgotten.
        """
        ...

    async def remove_expired(
        self, partition: int, node: str, changes: Sequence[UserChange]
    ) -> None:
        """Remove users of a node whose entries in the partition have expired."""
        ...
