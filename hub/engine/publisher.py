"""Publish a backend's message: check it, and pass it to the broker in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hub.core.channel import ALL, Channel
from hub.core.deliveries import Delivery
from hub.core.event import check_event_name, check_idempotency_key
from hub.core.inbox import InboxOptions
from hub.core.push_job import first_delivery
from hub.core.push_message import PushMessage, check_message
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.error_codes import DATA_TOO_LARGE, IDEMPOTENCY_KEY_REUSED
from hub.errors import BadRequest, BrokerUnavailable, CallerError, Conflict, HubError, TooLarge
from hub.ports.events import EventWriter, Outcome, Publication, Published


class PublishRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a backend.

    to: the channels that get the event. data: compact JSON in UTF-8. ttl_seconds: how long a client
    that reconnects still gets the event; None means as long as the log holds it.
    idempotency_seconds: how long the idempotency key is remembered; None means as long as the
    settings say. inbox: how the event is kept in the inbox of each channel; None means that it is
    not. push: the notification for users who do not take the event; None for none.
    """

    to: Sequence[Channel]
    event: str
    data: bytes
    idempotency_key: str | None = None
    idempotency_seconds: float | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None
    inbox: InboxOptions | None = None
    push: PushMessage | None = None


class Publisher:
    """Publishes messages; each channel of a message gets the event once.

    max_data_bytes, max_item_bytes: the size of the data of an event, and of one that is kept in an
        inbox.
    wait_replicas: the number of replicas for which the backend waits; fewer are counted.
    push_after_seconds: when a notification is sent; None if there are no push notifications.
    on_item: is called when an event is kept in an inbox; None if nobody needs it.
    """

    def __init__(
        self,
        events: EventWriter,
        *,
        max_data_bytes: int,
        max_item_bytes: int = 16 * 1024,
        wait_replicas: int = 0,
        metrics: NodeMetrics | None = None,
        push_after_seconds: float | None = None,
        on_item: Callable[[Channel, InboxOptions], None] | None = None,
    ) -> None:
        self._on_item = on_item
        self._push_after_seconds = push_after_seconds
        self._wait_replicas = wait_replicas
        self._metrics = metrics or NodeMetrics()
        self._events = events
        self._max_data_bytes = max_data_bytes
        self._max_item_bytes = max_item_bytes

    async def publish(self, request: PublishRequest) -> list[tuple[Channel, Published]]:
        """Publish one message. Return the result in each channel.

        Raise CallerError, BrokerUnavailable.
        """
        self.check(request)
        responses = await self._events.publish(self._publications(request))
        published = list(zip(request.to, responses, strict=True))
        for channel, response in published:
            self._count(request, channel, response)
        conflict = _find_conflict(published)
        if conflict is not None:
            raise conflict
        return published

    async def try_publish(
        self, requests: Sequence[PublishRequest]
    ) -> list[list[tuple[Channel, Published]] | HubError]:
        """Publish messages that are independent of each other, in one call to the broker.

        Return the result of each one: its result in each channel, or its error.
        """
        publications: list[Publication] = []
        results: list[list[tuple[Channel, Published]] | HubError] = []
        for request in requests:
            try:
                self.check(request)
            except CallerError as error:
                results.append(error)
            else:
                results.append([])
                publications += self._publications(request)
        responses = iter(await self._events.try_publish(publications))
        for n, request in enumerate(requests):
            result = results[n]
            if not isinstance(result, HubError):
                for channel in request.to:
                    response = next(responses)
                    if isinstance(response, BrokerUnavailable):
                        results[n] = response
                    else:
                        self._count(request, channel, response)
                        result.append((channel, response))
                results[n] = _find_conflict(result) or results[n]
        return results

    def _publications(self, request: PublishRequest) -> list[Publication]:
        return [
            Publication(
                channel=channel,
                name=request.event,
                data=request.data,
                idempotency_key=request.idempotency_key,
                idempotency_seconds=request.idempotency_seconds,
                ephemeral=request.ephemeral,
                ttl_seconds=request.ttl_seconds,
                durable=not request.ephemeral,  # no replica stores an ephemeral event
                inbox=request.inbox,
                deliveries=() if request.push is None else self._deliveries(request, channel),
            )
            for channel in request.to
        ]

    def _deliveries(self, request: PublishRequest, channel: Channel) -> Sequence[Delivery]:
        if request.push is None or self._push_after_seconds is None:
            return ()
        inbox = request.inbox or InboxOptions()
        delivery = first_delivery(
            channel,
            request.push,
            delay_seconds=self._push_after_seconds,
            in_inbox=request.inbox is not None,
            category=inbox.category,
            required=inbox.required,
        )
        return (delivery,)

    def _count(self, request: PublishRequest, channel: Channel, response: Published) -> None:
        self._metrics.published[response.outcome._value_] += 1  # `value` costs two calls
        if request.inbox is not None and response.item is not None:
            self._metrics.inbox_items.add(1)
            if self._on_item is not None:
                self._on_item(channel, request.inbox)
        if response.replicas is not None and response.replicas < self._wait_replicas:
            self._metrics.under_replicated.add(1)

    def check(self, request: PublishRequest) -> None:
        """Raise CallerError that names the field, if the message may not be published."""
        check_event_name(request.event)
        if request.idempotency_key is not None:
            check_idempotency_key(request.idempotency_key)
        if request.ttl_seconds is not None and not 0 < request.ttl_seconds < 10**9:
            raise BadRequest(
                "ttl_seconds must be a number above 0 and below 1,000,000,000", path="ttl_seconds"
            )
        if len(request.data) > self._max_data_bytes:
            raise TooLarge(
                f"data has {len(request.data)} bytes; the limit is {self._max_data_bytes}",
                code=DATA_TOO_LARGE,
                path="data",
            )
        if request.inbox is not None:
            request.inbox.check()
            if len(request.data) > self._max_item_bytes:
                raise TooLarge(
                    f"data has {len(request.data)} bytes; the limit of an event that is kept in an "
                    f"inbox is {self._max_item_bytes}",
                    code=DATA_TOO_LARGE,
                    path="data",
                )
        if request.push is not None:
            self._check_push(request, request.push)

    def _check_push(self, request: PublishRequest, push: PushMessage) -> None:
        if self._push_after_seconds is None:
            raise BadRequest(
                "this hub sends no push notifications: `hub keys vapid` makes the keys that the "
                "settings need",
                path="push",
            )
        if request.ephemeral:
            raise BadRequest("an ephemeral event has no push notification", path="push")
        if ALL in request.to:
            raise BadRequest("an event to all has no push notification: use a topic", path="push")
        check_message(push, path="push")


def _find_conflict(published: Sequence[tuple[Channel, Published]]) -> Conflict | None:
    """Return the error of a message whose idempotency key belongs to another one."""
    for channel, response in published:
        if response.outcome is Outcome.CONFLICT:
            return Conflict(
                f"this id was used for another event in the channel {channel}",
                code=IDEMPOTENCY_KEY_REUSED,
                path="id",
            )
    return None
