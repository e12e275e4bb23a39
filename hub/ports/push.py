"""Push notifications: the subscriptions of users' devices, and the channels that send to them.

Another channel (mail, another push service) implements PushChannel in one file.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.push_message import PushMessage
from hub.core.push_subscription import PushSubscription


class PushSubscriptionStore(Protocol):
    """The push subscriptions of all users. Every method raises BrokerUnavailable.

    A subscription belongs to one user at a time, whatever happens between two calls. A user has a
    bounded number of them; beyond it, the one that was put longest ago is removed. They expire when
    they are not put again.
    """

    async def put(self, user: str, subscription: PushSubscription) -> bool:
        """Store a subscription, and take it away from the user who had it.

        Return whether it is new; False if anybody had it before.
        """
        ...

    async def remove(self, user: str, subscription_id: str) -> bool:
        """Remove a subscription. Return False when the user has none with this id."""
        ...

    async def list(self, user: str) -> list[PushSubscription]:
        """Return the subscriptions of a user, in the order in which they were put."""
        ...

    async def remove_all(self, user: str) -> None:
        """Remove all subscriptions of a user."""
        ...


class SendOutcome(enum.Enum):
    """What happened to one message for one subscription."""

    SENT = "sent"
    UNSUBSCRIBED = "unsubscribed"
    """The subscription has ended for good and must be removed."""
    LATER = "later"
    """It can succeed later."""
    REFUSED = "refused"
    """It fails each time: the settings are wrong, or the service does not accept the message."""


class SendResult(msgspec.Struct, frozen=True):
    """The result of a send.

    retry_after_seconds: how long the service asks to wait, None if it does not say. reason: what
    happened, for logs and webhooks; without secrets.
    """

    outcome: SendOutcome
    reason: str = ""
    retry_after_seconds: float | None = None


class PushInbox(Protocol):
    """What push notifications ask the inbox. Every method raises BrokerUnavailable."""

    async def is_read(
        self, user: str, channel: Channel, position: Position, *, category: str = ""
    ) -> bool:
        """Return whether the user has read the item of the event at a position of a channel.

        An item that the user has archived or deleted, or that another one has replaced, counts as
        read. category: by which the user can mute the item, "" for none. An inbox that has muted it
        keeps no item, so nobody has read it.
        """
        ...

    async def is_muted(self, user: str, category: str) -> bool:
        """Return whether the user wants no push notifications of a category."""
        ...

    async def topic_users(self, topic: str, after: str, limit: int) -> list[str]:
        """Return at most `limit` users who have subscribed to a topic in their inbox, in a fixed
        order, after one of them ("" for the first ones). An empty list is the end.
        """
        ...


class PushChannel(Protocol):
    """A way to reach a device. Its name is `channel` of the subscriptions that it serves."""

    async def send(
        self,
        subscription: PushSubscription,
        message: PushMessage,
        *,
        push_id: str,
        ttl_seconds: float,
    ) -> SendResult:
        """Send one message and return what happened; raise nothing.

        push_id: the same when the message is sent again. ttl_seconds: how long the service may keep
        the message for a device that is not reachable.
        """
        ...
