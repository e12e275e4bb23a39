"""POST /publish: a backend's event to a user, some users, a topic or everyone."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from typing import Final

import msgspec
from aiohttp import web

from hub.api.api_keys import ApiKeys
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
from hub.core.cursor import format_part
from hub.core.event import compact_json
from hub.core.rate_limit import TokenBucket
from hub.engine.publisher import Publisher, PublishRequest
from hub.errors import BadRequest, TooManyRequests
from hub.http.json_body import json_response, read_json
from hub.http.routing import Operation, build_routes, json, json_body, key
from hub.ports.events import Outcome, Published

NULL: Final = msgspec.Raw(b"null")


class To(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of the four."""

    user: UserId | None = None
    users: list[UserId] | None = None
    topic: TopicName | None = None
    all: bool = False

    def channels(self, *, max_recipients: int) -> list[Channel]:
        """Raises BadRequest that names the field."""
        named = [self.user is not None, self.users is not None, self.topic is not None, self.all]
        if sum(named) != 1:
            raise BadRequest("give exactly one of to.user, to.users, to.topic, to.all", path="to")
        if self.user is not None:
            return [user_channel(check_user_id(self.user, path="to.user"))]
        if self.topic is not None:
            return [topic_channel(check_topic(self.topic, path="to.topic"))]
        if self.users is None:
            return [ALL]
        if not 1 <= len(self.users) <= max_recipients:
            raise BadRequest(f"to.users takes 1 to {max_recipients} users", path="to.users")
        checked = [check_user_id(u, path=f"to.users[{n}]") for n, u in enumerate(self.users)]
        return [user_channel(user) for user in dict.fromkeys(checked)]


class PublishBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /publish."""

    to: To
    event: str = "notification"
    data: msgspec.Raw = msgspec.field(default_factory=lambda: NULL)
    id: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None

    def message(self, *, max_recipients: int) -> PublishRequest:
        """What the publisher takes. Raises BadRequest that names the field."""
        return PublishRequest(
            to=self.to.channels(max_recipients=max_recipients),
            event=self.event,
            data=compact_json(self.data),
            idempotency_key=self.id,
            ephemeral=self.ephemeral,
            ttl_seconds=self.ttl_seconds,
        )


class PublishedChannel(msgspec.Struct, frozen=True):
    """cursor: where the event stands in the channel; null for an ephemeral one. duplicate: it was
    there already, under the same idempotency key.
    """

    channel: str
    cursor: str | None
    duplicate: bool


class PublishResponse(msgspec.Struct, frozen=True):
    """A cursor for each channel."""

    published: list[PublishedChannel]


def publish_response(published: Iterable[tuple[Channel, Published]]) -> PublishResponse:
    """What is told of them."""
    return PublishResponse(
        [
            PublishedChannel(
                channel,
                format_part(channel, answer.position) if answer.position else None,
                answer.outcome is Outcome.DUPLICATE,
            )
            for channel, answer in published
        ]
    )


async def publish(publisher: Publisher, message: PublishRequest) -> web.Response:
    """Publishes, and answers with a cursor for each channel."""
    return json_response(publish_response(await publisher.publish(message)))


class PublishLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request, or one item of a batch that streams in, may hold."""

    max_body_bytes: int
    max_recipients: int


class PublishRateLimits:
    """How many events each key may publish in a second, by whatever route of this process; None: as
    many as it likes.
    """

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._buckets: dict[str, TokenBucket] = {}

    def check(self, key: str, count: int = 1) -> None:
        """Raises TooMany."""
        wait = self._take(key, count)
        if wait > 0:
            raise TooManyRequests(
                f"this key may publish {self._per_second:g} events a second",
                limit="publishes",
                retry_after_seconds=max(1, math.ceil(wait)),
            )

    async def wait(self, key: str, count: int) -> None:
        """Returns when so many may be published."""
        wait = self._take(key, count)
        while wait > 0:  # again: others of the key may have been quicker
            await asyncio.sleep(wait)
            wait = self._take(key, count)

    def _take(self, key: str, count: int) -> float:
        if self._per_second is None:
            return 0.0
        now = time.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._per_second, now)
        return bucket.take(now, count)


class PublishRoutes:
    """The publishing routes of the internal listener."""

    def __init__(
        self, publisher: Publisher, keys: ApiKeys, limits: PublishLimits, rates: PublishRateLimits
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._limits = limits
        self._rates = rates

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="POST",
        paths=["/publish"],
        tag="publish",
        summary="Publish one event",
        security=key("publish"),
        body=json_body(PublishBody),
        responses=[json(200, PublishResponse, "Published: a cursor for each channel")],
        refuses=[429],
    )
    async def publish(self, request: web.Request) -> web.Response:
        """One event, to whom it says."""
        self._rates.check(self._keys.check(request, "publish"))
        body = await read_json(request, PublishBody, max_bytes=self._limits.max_body_bytes)
        message = body.message(max_recipients=self._limits.max_recipients)
        return await publish(self._publisher, message)
