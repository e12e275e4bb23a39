"""Sends the push notifications that are due: one delivery is one job of hub/core/push_job.py.

A notification is sent at least once. It is not sent if an open connection of the user has taken its
event, if the user has read it in the inbox, or has muted its category.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.deliveries import Dead, Done, Failed
from hub.core.deliveries import SendResult as DeliveryResult
from hub.core.push_job import (
    DevicePush,
    PushJob,
    PushOrigin,
    TopicPush,
    UserPush,
    at_position,
    decode_job,
    device_deliveries,
    next_step,
    user_deliveries,
)
from hub.core.push_message import PushMessage
from hub.core.push_subscription import PushSubscription
from hub.engine.metrics.push_metrics import PushMetrics
from hub.ports.deliveries import DeliveryStore, TakenDelivery
from hub.ports.push import (
    PushChannel,
    PushInbox,
    PushSubscriptionStore,
    SendOutcome,
    SendResult,
)

USERS_PER_STEP: Final = 500
_EXPIRED: Final = "it could not be sent within its time to live"
_NO_DEVICE_LEFT: Final = "no device of the user is subscribed any more"
_NO_CHANNEL: Final = SendResult(SendOutcome.REFUSED, "this worker has no such push channel")
_log = structlog.get_logger(__name__)


class NoInbox:
    """Implements ports.push.PushInbox where there is no inbox."""

    async def is_read(
        self, user: str, channel: Channel, position: Position, *, category: str = ""
    ) -> bool:
        return False

    async def is_muted(self, user: str, category: str) -> bool:
        return False

    async def topic_users(self, topic: str, after: str, limit: int) -> list[str]:
        return []


class PushSender:
    """Sends the deliveries of the queue `push`.

    channels: by the names that subscriptions have. is_taken: returns whether an open connection of
    a user was sent the event at a position of a channel. ttl_seconds: how long a notification may
    be sent that does not say it. max_topic_users: how many users of a topic get a notification.
    max_retry_seconds: the longest time that a push service can ask for. retry_seconds: for how long
        a message is sent again at most.
    on_failed: called with the user, the origin, the message and the reason for a notification that
        is given up: nobody took it, or a device did not get it.
    """

    def __init__(
        self,
        channels: Mapping[str, PushChannel],
        subscriptions: PushSubscriptionStore,
        deliveries: DeliveryStore,
        is_taken: Callable[[str, Channel, Position], Awaitable[bool]],
        *,
        inbox: PushInbox | None = None,
        ttl_seconds: float,
        max_topic_users: int,
        max_retry_seconds: float = 900.0,
        retry_seconds: float = 86400.0,
        metrics: PushMetrics | None = None,
        on_failed: Callable[[str, PushOrigin, PushMessage, str], Awaitable[None]] | None = None,
    ) -> None:
        self._channels = channels
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._is_taken = is_taken
        self._inbox = inbox or NoInbox()
        self._ttl_seconds = ttl_seconds
        self._max_topic_users = max_topic_users
        self._max_retry_seconds = max_retry_seconds
        self._metrics = metrics or PushMetrics()
        self._retry_seconds = retry_seconds
        self._on_failed = on_failed

    async def send(self, taken: TakenDelivery) -> DeliveryResult:
        """Do the job of a delivery. Raise BrokerUnavailable."""
        try:
            job: PushJob = at_position(decode_job(taken.body), taken.position)
        except msgspec.DecodeError as error:
            return Dead(f"the job cannot be read: {error}")
        if isinstance(job, TopicPush):
            return await self._send_to_topic(job)
        if isinstance(job, DevicePush):
            return await self._send_again(job, taken.age_seconds)
        return await self._send_to_user(job, taken.age_seconds)

    async def _send_to_user(self, job: UserPush, age_seconds: float) -> DeliveryResult:
        reason = await self._find_reason_against(job.user, job.origin)
        if reason is not None:
            self._metrics.notifications[reason] += 1
            return Done()
        devices = await self._subscriptions.list(job.user)
        if not devices:
            self._metrics.notifications["no_device"] += 1
            return Done()
        ttl_seconds = self._seconds_left(job, age_seconds)
        if ttl_seconds is None:
            return await self._fail(job.user, job.origin, job.message, _EXPIRED)
        self._metrics.notifications["pushed"] += 1
        results = await asyncio.gather(
            *(self._send(job.user, each, job.message, job.origin, ttl_seconds) for each in devices)
        )
        later = {
            device.id: result
            for device, result in zip(devices, results, strict=True)
            if result.outcome is SendOutcome.LATER
        }
        repeated = device_deliveries(
            job, [each for each in devices if each.id in later], age_seconds=age_seconds
        )
        if repeated:
            await self._deliveries.add(
                [
                    msgspec.structs.replace(
                        delivery, delay_seconds=self._delay_seconds(later[device.id])
                    )
                    for device, delivery in repeated
                ]
            )
        outcomes = {result.outcome for result in results}
        if SendOutcome.REFUSED in outcomes and not outcomes & {SendOutcome.SENT, SendOutcome.LATER}:
            refused = next(r for r in results if r.outcome is SendOutcome.REFUSED)
            return await self._fail(job.user, job.origin, job.message, refused.reason)
        if outcomes == {SendOutcome.UNSUBSCRIBED}:  # to send it again would change nothing
            await self._fail(job.user, job.origin, job.message, _NO_DEVICE_LEFT)
        return Done()

    async def _send_again(self, job: DevicePush, waited_seconds: float) -> DeliveryResult:
        devices = {each.id: each for each in await self._subscriptions.list(job.user)}
        device = devices.get(job.subscription)
        reason = await self._find_reason_against(job.user, job.origin)
        if device is None or reason is not None:
            return Done()
        ttl_seconds = self._seconds_left(job, job.age_seconds + waited_seconds)
        if ttl_seconds is None:
            return await self._fail(job.user, job.origin, job.message, _EXPIRED)
        result = await self._send(job.user, device, job.message, job.origin, ttl_seconds)
        if result.outcome is SendOutcome.LATER:
            if waited_seconds >= self._retry_seconds:
                return await self._fail(job.user, job.origin, job.message, result.reason)
            return Failed(result.reason, result.retry_after_seconds or 0.0)
        if result.outcome is SendOutcome.REFUSED:
            return await self._fail(job.user, job.origin, job.message, result.reason)
        return Done()

    async def _send_to_topic(self, job: TopicPush) -> DeliveryResult:
        limit = min(USERS_PER_STEP, self._max_topic_users - job.count)
        users = await self._inbox.topic_users(job.topic, job.after, limit) if limit > 0 else []
        if limit <= 0:
            _log.warning("push.too_many_users", max_topic_users=self._max_topic_users)
        if not users:
            return Done()
        # The next step comes last: if this one is cut off, all of it is repeated.
        await self._deliveries.add([*user_deliveries(job, users), next_step(job, users)])
        return Done()

    async def _find_reason_against(self, user: str, origin: PushOrigin) -> str | None:
        """Return why a notification is not needed, as a label of metrics; None if it is."""
        channel, position = origin.channel, origin.position
        category = "" if origin.required else origin.category
        if category and await self._inbox.is_muted(user, category):
            return "muted"
        if position is None:
            return None
        if origin.in_inbox and await self._inbox.is_read(
            user, channel, position, category=category
        ):
            return "read"
        if await self._is_taken(user, channel, position):
            return "taken"
        return None

    def _delay_seconds(self, result: SendResult) -> float:
        return min(result.retry_after_seconds or 1.0, self._max_retry_seconds)

    def _seconds_left(self, job: UserPush | DevicePush, age_seconds: float) -> float | None:
        """Return how long the push service may keep a notification; None if its time is over.

        The time begins when the notification is due. A time of 0 means that the service only tries
        at once, so the notification is sent once.
        """
        given = job.message.ttl_seconds
        ttl_seconds = self._ttl_seconds if given is None else given
        if ttl_seconds == 0:
            return None if isinstance(job, DevicePush) else 0.0
        left = ttl_seconds - max(0.0, age_seconds - job.origin.delay_seconds)
        return left if left > 0 else None

    async def _send(
        self,
        user: str,
        device: PushSubscription,
        message: PushMessage,
        origin: PushOrigin,
        ttl_seconds: float,
    ) -> SendResult:
        channel = self._channels.get(device.channel)
        result = _NO_CHANNEL
        if channel is not None:
            result = await channel.send(
                device, message, push_id=origin.push_id, ttl_seconds=ttl_seconds
            )
        self._metrics.messages[device.channel, result.outcome.value] += 1
        if result.outcome is SendOutcome.UNSUBSCRIBED:
            await self._subscriptions.remove(user, device.id)
        if result.outcome is SendOutcome.REFUSED:
            _log.warning("push.refused", reason=result.reason)
        return result

    async def _fail(self, user: str, origin: PushOrigin, message: PushMessage, reason: str) -> Dead:
        if self._on_failed is not None:
            await self._on_failed(user, origin, message, reason)
        return Dead(reason)
