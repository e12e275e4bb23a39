"""Push subscriptions in memory, and a channel that only notes what it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from hub.core.push_message import PushMessage
from hub.core.push_subscription import PushSubscription
from hub.ports.push import SendOutcome, SendResult


class MemoryPushSubscriptionStore:
    """Implements ports.push.PushSubscriptionStore. now: returns the time in seconds."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        *,
        max_per_user: int = 20,
        ttl_seconds: float = 3600.0,
    ) -> None:
        self._now = now
        self._max_per_user = max_per_user
        self._ttl_seconds = ttl_seconds
        # By id, in the order in which they were put: the user, the subscription, its end.
        self._stored: dict[str, tuple[str, PushSubscription, float]] = {}

    async def put(self, user: str, subscription: PushSubscription) -> bool:
        self._forget_expired()
        before = self._stored.pop(subscription.id, None)
        until = self._now() + self._ttl_seconds
        self._stored[subscription.id] = (user, subscription, until)
        for surplus in (await self.list(user))[: -self._max_per_user]:
            del self._stored[surplus.id]
        return before is None

    async def remove(self, user: str, subscription_id: str) -> bool:
        self._forget_expired()
        if self._stored.get(subscription_id, ("",))[0] != user:
            return False
        del self._stored[subscription_id]
        return True

    async def list(self, user: str) -> list[PushSubscription]:
        self._forget_expired()
        return [each for owner, each, _ in self._stored.values() if owner == user]

    async def remove_all(self, user: str) -> None:
        for each in await self.list(user):
            del self._stored[each.id]

    def _forget_expired(self) -> None:
        now = self._now()
        self._stored = {key: each for key, each in self._stored.items() if each[2] > now}


class SentPush(msgspec.Struct, frozen=True):
    """One call of FakePushChannel.send."""

    endpoint: str
    message: PushMessage
    push_id: str
    ttl_seconds: float


class FakePushChannel:
    """Implements ports.push.PushChannel. results: by endpoint; others are sent."""

    def __init__(self, results: Mapping[str, SendResult] | None = None) -> None:
        self.results = dict(results or {})
        self.sent: list[SentPush] = []

    async def send(
        self,
        subscription: PushSubscription,
        message: PushMessage,
        *,
        push_id: str,
        ttl_seconds: float,
    ) -> SendResult:
        self.sent.append(SentPush(subscription.endpoint, message, push_id, ttl_seconds))
        return self.results.get(subscription.endpoint, SendResult(SendOutcome.SENT))
