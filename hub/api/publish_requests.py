"""Publish requests of backends, over HTTP and gRPC: who may send them, their checks and results.

hub/engine/publisher.py checks the event itself and calls the broker.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from itertools import count, repeat
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from hub.api.api_keys import ApiKeys
from hub.api.json_decoding import decode_json
from hub.api.problems import problem_from_error
from hub.api.request_context import RequestContext
from hub.core.channel import (
    ALL,
    Channel,
    TopicName,
    UserId,
    check_topic,
    check_user_id,
    topic_channel,
    user_channel,
)
from hub.core.cursor import format_cursor
from hub.core.event import compact_json
from hub.core.inbox import MAX_CATEGORY_CHARS, MAX_KEY_CHARS, InboxOptions, item_source
from hub.core.push_message import PushMessage, Urgency
from hub.core.rate_limit import TokenBucket
from hub.engine.publisher import Publisher, PublishRequest
from hub.error_codes import BODY_TOO_LARGE, RATE_LIMITED
from hub.errors import BadRequest, CallerError, HubError, TooLarge, TooManyRequests
from hub.ports.events import Outcome, Published

NULL: Final = msgspec.Raw(b"null")


class Recipients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who receives the event: exactly one of the four fields is given."""

    user: UserId | None = None
    users: list[UserId] | None = None
    topic: TopicName | None = None
    all: bool = False

    def channels(self, *, max_recipients: int) -> list[Channel]:
        """Return the channels to publish in. Raise BadRequest that names the field."""
        names = (self.user is not None) + (self.users is not None) + (self.topic is not None)
        if names + self.all != 1:
            raise BadRequest("give exactly one of to.user, to.users, to.topic, to.all", path="to")
        if self.user is not None:
            return [user_channel(check_user_id(self.user, path="to.user"))]
        if self.topic is not None:
            return [topic_channel(check_topic(self.topic, path="to.topic"))]
        if self.users is None:
            return [ALL]
        if not 1 <= len(self.users) <= max_recipients:
            raise BadRequest(
                f"to.users must have between 1 and {max_recipients} users", path="to.users"
            )
        users = [check_user_id(u, path=f"to.users[{n}]") for n, u in enumerate(self.users)]
        return [user_channel(user) for user in dict.fromkeys(users)]


_Category = Annotated[
    str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_CATEGORY_CHARS})
]
_Key = Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_KEY_CHARS})]


class InboxBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an event is kept in the inbox of each recipient.

    `category` is a name by which users filter and mute items. An item with the same `key` is
    replaced and is unread again. `expires_seconds` is how long the item is kept, at most the
    setting `inbox.ttl_seconds`. A `required` item is kept although the user has muted its category.
    """

    category: _Category | None = None
    key: _Key | None = None
    expires_seconds: float | None = None
    required: bool | None = None

    def options(self) -> InboxOptions:
        """Return the options of the item. Raise BadRequest that names the field."""
        for name in ("category", "key"):
            if getattr(self, name) == "":
                raise BadRequest(f"a {name} must not be empty", path=f"inbox.{name}")
        return InboxOptions(
            category=self.category or "",
            key=self.key or "",
            expires_seconds=self.expires_seconds,
            required=bool(self.required),
        )


class PushBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The notification for users who do not take the event: docs/guides/push.md.

    `url` is what a click opens: an http or https URL, or one relative to the page. Notifications
    with the same `tag` replace each other. A `body` that is too long is cut. `ttl_seconds` is how
    long the push service keeps the notification for a device that is off.
    """

    title: str
    body: str | None = None
    url: str | None = None
    tag: str | None = None
    icon: str | None = None
    urgency: Urgency | None = None
    ttl_seconds: float | None = None

    def message(self) -> PushMessage:
        """Return the message, which has not been checked."""
        return PushMessage(
            title=self.title,
            body=self.body or "",
            url=self.url or "",
            tag=self.tag or "",
            icon=self.icon or "",
            urgency=self.urgency or "normal",
            ttl_seconds=self.ttl_seconds,
        )


class PublishBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /publish.

    `data` is any JSON. `id` is an idempotency key: the hub publishes an event with the same key
    once per channel. An `ephemeral` event is not stored. `ttl_seconds` limits how long the event
    is delivered to clients that reconnect. `inbox` keeps the event in the inbox of each recipient
    besides: `true`, or an object with options. `push`
    notifies the devices of users who do not take the event.
    """

    to: Recipients
    event: str = "notification"
    data: msgspec.Raw = msgspec.field(default_factory=lambda: NULL)
    id: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None
    inbox: bool | InboxBody | None = None
    push: PushBody | None = None

    def with_id(self, default_id: str | None) -> PublishBody:
        """Return the body with this idempotency key, unless it has one."""
        if default_id is None or self.id is not None:
            return self
        return msgspec.structs.replace(self, id=default_id)

    def request(self, *, max_recipients: int) -> PublishRequest:
        """Return the publisher's request. Raise BadRequest that names the field."""
        return PublishRequest(
            to=self.to.channels(max_recipients=max_recipients),
            event=self.event,
            data=compact_json(self.data),
            idempotency_key=self.id,
            ephemeral=self.ephemeral,
            ttl_seconds=self.ttl_seconds,
            inbox=self._inbox() if self.inbox else None,
            push=None if self.push is None else self.push.message(),
        )

    def _inbox(self) -> InboxOptions:
        return self.inbox.options() if isinstance(self.inbox, InboxBody) else InboxOptions()


BatchItem = PublishBody | bytes | None
"""An item of a batch: decoded, as JSON, or None if it exceeded the size limit."""


def parse_batch(text: bytes) -> Sequence[BatchItem]:
    """Return the items of a JSON array. They are decoded if all of them are valid, which is three
    times as fast as one after the other.

    Raise BadRequest if it is no array.
    """
    try:
        return decode_json(text, list[PublishBody])
    except BadRequest:
        return [bytes(item) for item in decode_json(text, list[msgspec.Raw])]


class PublishedChannel(msgspec.Struct, frozen=True):
    """`cursor` is the position of the event in the channel, or null for an ephemeral event.
    `duplicate` is true if the channel already had an event with the same idempotency key.
    `replicas` is the number of replicas of Redis that are known to have the event, if the setting
    `redis.wait_replicas` is above 0 and the event is stored. `item` is the id of the item that was
    kept in the inbox, if the publish asks for one.
    """

    channel: str
    cursor: str | None
    duplicate: bool
    replicas: int | UnsetType = UNSET
    item: str | UnsetType = UNSET


class PublishResponse(msgspec.Struct, frozen=True):
    """The result of a publish, with one entry per channel."""

    published: list[PublishedChannel]


def publish_response(published: Iterable[tuple[Channel, Published]]) -> PublishResponse:
    """Convert the publisher's result to the response."""
    return PublishResponse(
        [
            PublishedChannel(
                channel,
                format_cursor({channel: result.position}) if result.position else None,
                result.outcome is Outcome.DUPLICATE,
                UNSET if result.replicas is None else result.replicas,
                UNSET if result.item is None else result.item + item_source(channel),
            )
            for channel, result in published
        ]
    )


class PublishLimits(msgspec.Struct, frozen=True, kw_only=True):
    """max_body_bytes: the size of one request, and of one line of an NDJSON batch.
    max_recipients: the number of users in `to.users`.
    """

    max_body_bytes: int
    max_recipients: int


class PublishRateLimits:
    """Limits how many events each API key publishes per second in this process.

    per_second: None means no limit. One instance is shared by all routes and listeners.
    """

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._buckets: dict[str, TokenBucket] = {}  # by the name of the API key

    def check(self, key: str, count: int = 1) -> None:
        """Raise TooManyRequests if the key may not publish `count` events now."""
        wait_seconds = self._take(key, count)
        if wait_seconds > 0:
            raise TooManyRequests(
                f"this API key may publish {self._per_second:g} events per second",
                code=RATE_LIMITED,
                limit="publishes",
                retry_after_seconds=max(1, math.ceil(wait_seconds)),
            )

    async def wait(self, key: str, count: int) -> None:
        """Wait until the key may publish `count` events."""
        wait_seconds = self._take(key, count)
        while wait_seconds > 0:  # another request with the same key may have been faster
            await asyncio.sleep(wait_seconds)
            wait_seconds = self._take(key, count)

    def _take(self, key: str, count: int) -> float:
        if self._per_second is None:
            return 0.0
        now = time.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._per_second, now)
        return bucket.take(now, count)


class PublishRequests:
    """Publishes what backends send. POST /publish, POST /publish/batch and gRPC share it."""

    def __init__(
        self,
        publisher: Publisher,
        keys: ApiKeys,
        limits: PublishLimits,
        rate_limits: PublishRateLimits,
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self.limits = limits
        self.rate_limits = rate_limits

    def authenticate(self, request: RequestContext) -> str:
        """Return the name of the request's API key. Raise Unauthorized, Forbidden."""
        return self._keys.check(request, "publish")

    async def publish(self, body: PublishBody) -> PublishResponse:
        """Publish one event. Raise CallerError, BrokerUnavailable."""
        request = body.request(max_recipients=self.limits.max_recipients)
        return publish_response(await self._publisher.publish(request))

    async def publish_batch(
        self, items: Sequence[BatchItem], *, key: str | None = None, first: int = 0
    ) -> list[Any]:
        """Publish many events with one call to the broker.

        key: the idempotency key of the whole batch, which gives the items without `id` one of their
        own by their number. first: the number of the first item.
        Return a PublishResponse or a problem document per item, in order. An invalid item does not
        affect the others.
        """
        ids = repeat(None) if key is None else (f"{key}/{n}" for n in count(first))
        parsed = [self._parse(item, id_) for item, id_ in zip(items, ids, strict=False)]
        valid = [item for item in parsed if isinstance(item, PublishRequest)]
        outcomes = iter(await self._publisher.try_publish(valid))
        results = []
        for item in parsed:
            outcome = next(outcomes) if isinstance(item, PublishRequest) else item
            results.append(
                problem_from_error(outcome)
                if isinstance(outcome, HubError)
                else publish_response(outcome)
            )
        return results

    def _parse(self, item: BatchItem, default_id: str | None) -> PublishRequest | CallerError:
        try:
            if item is None:
                raise TooLarge(
                    f"an item may have at most {self.limits.max_body_bytes} bytes",
                    code=BODY_TOO_LARGE,
                )
            body = item if isinstance(item, PublishBody) else decode_json(item, PublishBody)
            body = body.with_id(default_id)
            return body.request(max_recipients=self.limits.max_recipients)
        except CallerError as error:
            return error
