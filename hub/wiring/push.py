"""Push notifications, if the settings have keys for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from hub.core.channel import user_channel
from hub.core.cursor import format_cursor
from hub.core.deliveries import PUSH_QUEUE
from hub.core.push_job import PushOrigin
from hub.core.push_message import PushMessage
from hub.core.push_subscription import WEB_PUSH
from hub.engine.delivery_loop import DeliveryLoop
from hub.engine.metrics.worker_metrics import WorkerMetrics
from hub.engine.streams.taken_query import TakenQuery
from hub.engine.tasks import Supervisor
from hub.errors import OperatorError
from hub.http.outgoing import open_public_client
from hub.inbox.push_inbox import StoredPushInbox
from hub.ports.backend import Backend
from hub.ports.clock import Clock
from hub.ports.push import PushChannel
from hub.ports.webhooks import EventDeliveries
from hub.push.sender import PushSender
from hub.push.vapid import VapidKeys, load_vapid_keys
from hub.settings import Push, Settings
from hub.wiring.backend import build_retry_policy


def read_push_keys(push: Push) -> VapidKeys | None:
    """Return the keys of the settings, None without any. Raise OperatorError."""
    if push.private_key is not None:
        text, setting = push.private_key.get_secret_value(), "push.private_key"
    elif push.private_key_file is not None:
        setting = "push.private_key_file"
        try:
            text = push.private_key_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(
                f"{setting} cannot be read: {push.private_key_file}: {error}"
            ) from error
    else:
        return None
    try:
        keys = load_vapid_keys(text)
    except ValueError as error:
        raise OperatorError(
            f"{setting} is not a key for push notifications ({error}): `hub keys vapid` makes one"
        ) from error
    if push.public_key is not None and push.public_key.rstrip("=") != keys.public_key:
        raise OperatorError(
            f"push.public_key does not belong to {setting}; its public key is {keys.public_key}"
        )
    return keys


def read_push_public_key(push: Push) -> str | None:
    """Return the public key that browsers get, None without keys. Raise OperatorError."""
    keys = read_push_keys(push)
    return None if keys is None else keys.public_key


PUSH_FAILED: Final = "push.failed"
"""The event of webhooks for a notification that is given up."""


def describe_failure(origin: PushOrigin, message: PushMessage, reason: str) -> dict[str, str]:
    """Return the fields of the event `push.failed` that follow the user."""
    data = {"push": origin.push_id, "title": message.title, "reason": reason}
    if origin.position is not None:
        data["cursor"] = format_cursor({origin.channel: origin.position})
    return data


class PushWorker:
    """The parts of a worker that send notifications; all of them are None without keys."""

    def __init__(
        self,
        sender: PushSender | None = None,
        taken: TakenQuery | None = None,
        loop: DeliveryLoop | None = None,
    ) -> None:
        self.sender = sender
        self._taken = taken
        self._loop = loop

    def start(self, tasks: Supervisor, intake: Supervisor) -> None:
        """Start the tasks. intake: ends when the worker takes nothing new; tasks: ends later."""
        if self._taken is not None and self._loop is not None:
            tasks.start("taken query", self._taken.run)
            tasks.start("count of pushes", self._loop.run_counts)
            intake.start("pushes", self._loop.run)

    async def shut_down(self, deadline_seconds: float, force: asyncio.Event) -> None:
        """Wait for the notifications that are being sent, then give the others back."""
        if self._loop is not None:
            await self._loop.shut_down(deadline_seconds, force)


async def open_push_worker(
    settings: Settings,
    backend: Backend,
    clock: Clock,
    metrics: WorkerMetrics,
    opened: AsyncExitStack,
    *,
    webhooks: EventDeliveries,
) -> PushWorker:
    """Build what sends notifications; it closes with `opened`.

    webhooks: makes the deliveries of the event `push.failed`. Raise OperatorError.
    """

    async def on_failed(user: str, origin: PushOrigin, message: PushMessage, reason: str) -> None:
        data = describe_failure(origin, message, reason)
        failed = webhooks.build(PUSH_FAILED, user_channel(user), data)
        if failed:
            await backend.deliveries.add(failed)

    push, deliveries = settings.push, settings.deliveries
    channels = await open_push_channels(push, opened)
    if not channels:
        return PushWorker()
    taken = TakenQuery(backend.commands, clock)
    sender = PushSender(
        channels,
        backend.push_subscriptions,
        backend.deliveries,
        taken.is_taken,
        inbox=StoredPushInbox(backend.inboxes),
        ttl_seconds=push.ttl_seconds,
        max_topic_users=push.max_topic_users,
        max_retry_seconds=deliveries.max_retry_seconds,
        retry_seconds=deliveries.retry_seconds,
        metrics=metrics.push,
        on_failed=on_failed,
    )
    loop = DeliveryLoop(
        backend.deliveries,
        PUSH_QUEUE,
        sender.send,
        clock,
        policy=build_retry_policy(settings),
        concurrency=deliveries.concurrency,
        lease_seconds=_lease_seconds(push),
        poll_seconds=deliveries.poll_seconds,
        metrics=metrics.deliveries,
    )
    return PushWorker(sender, taken, loop)


def _lease_seconds(push: Push) -> float:
    """Return a lease whose attempts may send a message three times and ask all nodes."""
    return 1.5 * (3 * push.timeout_seconds + 2)


async def open_push_channels(push: Push, opened: AsyncExitStack) -> Mapping[str, PushChannel]:
    """Open the ways to send notifications, by their names; they close with `opened`.

    Return none if the settings have no keys. Raise OperatorError.
    """
    keys = read_push_keys(push)
    if keys is None:
        return {}
    channel_type = _import_channel()
    client = await opened.enter_async_context(
        open_public_client(
            allow_private=push.allow_private,
            timeout_seconds=push.timeout_seconds,
        )
    )
    return {WEB_PUSH: channel_type(client, keys, subject=push.subject)}


def _import_channel() -> Any:
    try:
        from hub.push.web_push import WebPushChannel
    except ImportError as error:
        raise OperatorError(
            f"the table push of the settings needs pywebpush, which cannot be used here ({error}): "
            "install ssehub[push] (docs/guides/push.md)"
        ) from error
    return WebPushChannel
