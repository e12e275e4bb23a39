"""A user's event stream, over server-sent events, newline-delimited JSON, or long polling.

What is final (a bad name, cursor or token) is answered with its status; what passes by itself
(draining, the broker away) is answered 200 and ended with `hub.bye`, because a browser never
returns to a stream that was answered with anything but 200.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator, Identity, check_topics, requested_topics
from hub.core.channel import ALL, Channel, TopicName, topic_channel, user_channel
from hub.core.cursor import Position
from hub.core.ndjson import StreamLine
from hub.core.system_events import USER_EVENTS
from hub.engine.connection import Connection
from hub.http.json_body import read_json
from hub.http.parameters import CURSOR, LAST_EVENT_ID, OPEN_USER, TOPICS, USER_ID
from hub.http.query import query_seconds
from hub.http.routing import (
    STREAM_USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
)
from hub.http.streams import Streams, parse_requested_cursor, requested_cursor
from hub.transports.poll import PollConnection

_WAIT_SECONDS: Final = 25.0
_MAX_WAIT_SECONDS: Final = 60.0
_MAX_BODY_BYTES: Final = 64 * 1024


class ConnectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /sse/connect: what the query holds otherwise."""

    topics: list[TopicName] = []
    cursor: str = "live"


_STREAM: Final = ResponseSpec(
    status=200,
    description="The user's events, until one of the two leaves; what publishers sent, and these",
    content={"text/event-stream": None, "application/x-ndjson": StreamLine},
    events=USER_EVENTS,
)
_Wait = Annotated[float, msgspec.Meta(ge=0, le=_MAX_WAIT_SECONDS)]


class PollResponse(msgspec.Struct, frozen=True):
    """What there is; the next poll goes on from the cursor."""

    events: list[StreamLine]
    cursor: str


class ConnectRoutes:
    """The streaming routes of the public listener."""

    def __init__(self, streams: Streams, authenticator: Authenticator) -> None:
        self._streams = streams
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/sse/connect/{user_id}", "/sse/connect"],
        tag="streams",
        summary="A user's events as a stream",
        security=STREAM_USER,
        parameters=[USER_ID, OPEN_USER, TOPICS, CURSOR, LAST_EVENT_ID],
        responses=[_STREAM],
        refuses=[429],
        long_lived=True,
    )
    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Begins the stream."""
        identity = await self._authenticator.identify(request)
        channels = self._channels(request, identity)
        return await self._begin(request, identity, channels, requested_cursor(request, channels))

    @Operation(
        method="POST",
        paths=["/sse/connect/{user_id}", "/sse/connect"],
        tag="streams",
        summary="The same with a body",
        security=STREAM_USER,
        parameters=[USER_ID, OPEN_USER, LAST_EVENT_ID],
        body=json_body(ConnectBody),
        responses=[_STREAM],
        refuses=[429],
        long_lived=True,
    )
    async def connect_by_post(self, request: web.Request) -> web.StreamResponse:
        """The same with topics and cursor in the body, for clients that have many."""
        identity = await self._authenticator.identify(request)
        body = await read_json(request, ConnectBody, max_bytes=_MAX_BODY_BYTES)
        most = self._streams.limits.max_topics
        topics = check_topics(body.topics, identity, max_topics=most)
        channels = [user_channel(identity.user), ALL, *map(topic_channel, topics)]
        text = request.headers.get("Last-Event-ID") or body.cursor
        return await self._begin(
            request, identity, channels, parse_requested_cursor(text, channels)
        )

    @Operation(
        method="GET",
        paths=["/poll/connect/{user_id}", "/poll/connect"],
        tag="streams",
        summary="A user's events by long polling",
        security=STREAM_USER,
        parameters=[
            USER_ID,
            OPEN_USER,
            TOPICS,
            CURSOR,
            LAST_EVENT_ID,
            Parameter(
                "query",
                "wait",
                _Wait,
                f"Seconds, while there is nothing; {_WAIT_SECONDS:g} by default",
            ),
        ],
        responses=[json(200, PollResponse, "What there is, or came within the wait")],
        refuses=[429],
        long_lived=True,
    )
    async def poll(self, request: web.Request) -> web.StreamResponse:
        """One answer: `{"events":[…],"cursor":"…"}`, when there is something, or after `?wait=`."""
        identity = await self._authenticator.identify(request)
        channels = self._channels(request, identity)
        wait_seconds = query_seconds(
            request, "wait", default=_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS
        )
        cursor = requested_cursor(request, channels)
        asked = request.headers.get("Last-Event-ID") or request.query.get("cursor") or ""
        make = partial(
            PollConnection,
            user=identity.user,
            channels=channels,
            asked=asked.encode() if cursor else b"",
        )
        return await self._streams.poll(request, identity, cursor, make, wait_seconds)

    async def _begin(
        self,
        request: web.Request,
        identity: Identity,
        channels: list[Channel],
        cursor: dict[Channel, Position],
    ) -> web.StreamResponse:
        make = partial(Connection, user=identity.user, channels=channels)
        return await self._streams.begin(request, identity, cursor, make)

    def _channels(self, request: web.Request, identity: Identity) -> list[Channel]:
        return requested_channels(request, identity, most=self._streams.limits.max_topics)


def requested_channels(request: web.Request, identity: Identity, *, most: int) -> list[Channel]:
    """What the stream of a request follows: its user's channel, `all`, the topics named."""
    topics = requested_topics(request, identity, max_topics=most)
    return [user_channel(identity.user), ALL, *map(topic_channel, topics)]
