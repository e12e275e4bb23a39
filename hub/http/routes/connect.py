"""A user's event stream, over server-sent events, newline-delimited JSON, or long polling.

A final error (a bad name, cursor or token) gets its HTTP status. A temporary one (draining, broker
away) gets 200 and a stream that ends with `hub.bye`, because a browser never reconnects to a stream
that got anything but 200.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.api.request_context import last_event_id
from hub.core.channel import TopicName
from hub.core.cursor import UNKNOWN, format_cursor
from hub.core.ndjson import StreamLine
from hub.core.system_events import USER_EVENTS
from hub.engine.streams.stream_view import PollStream
from hub.http.json_body import read_json
from hub.http.parameters import (
    CURSOR,
    HEARTBEAT,
    HEARTBEAT_EVENT,
    LAST_EVENT_ID,
    OPEN_USER,
    TOPICS,
    USER_ID,
    query_seconds,
)
from hub.http.routing import (
    USER,
    EventSet,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
)
from hub.http.streams import HttpStreams

_WAIT_SECONDS: Final = 25.0
_MAX_WAIT_SECONDS: Final = 60.0
_MAX_BODY_BYTES: Final = 64 * 1024


class ConnectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /sse/connect: what GET has in the query."""

    topics: list[TopicName] = []
    cursor: str = "live"


_STREAM: Final = ResponseSpec(
    status=200,
    description="The user's events until the client or the hub closes the stream: the events of "
    "publishers, and these",
    events=EventSet(name="Stream", data=USER_EVENTS, has_published=True),
)
_Wait = Annotated[float, msgspec.Meta(ge=0, le=_MAX_WAIT_SECONDS)]


class PollResponse(msgspec.Struct, frozen=True):
    """The events of one poll; the next poll continues from the cursor."""

    events: list[StreamLine]
    cursor: str


class ConnectRoutes:
    """The streaming routes of the public listener."""

    def __init__(self, http_streams: HttpStreams, authenticator: Authenticator) -> None:
        self._http_streams = http_streams
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="streamEvents",
        method="GET",
        paths=["/sse/connect/{user_id}", "/sse/connect"],
        tag="streams",
        summary="A user's events as a stream",
        security=USER,
        parameters=[
            *(USER_ID, OPEN_USER, TOPICS, CURSOR, LAST_EVENT_ID),
            *(HEARTBEAT, HEARTBEAT_EVENT),
        ],
        responses=[_STREAM],
        refuses=[429],
        long_lived=True,
    )
    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Stream the events of the user, of the requested topics, and of `all`."""
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        stream = self._http_streams.streams.user_request(request, identity)
        return await self._http_streams.stream(request, stream)

    @Operation(
        id="streamEventsByPost",
        method="POST",
        paths=["/sse/connect/{user_id}", "/sse/connect"],
        tag="streams",
        summary="A user's events as a stream, requested with a body",
        security=USER,
        parameters=[USER_ID, OPEN_USER, LAST_EVENT_ID, HEARTBEAT, HEARTBEAT_EVENT],
        body=json_body(ConnectBody),
        responses=[_STREAM],
        refuses=[429],
        long_lived=True,
    )
    async def connect_by_post(self, request: web.Request) -> web.StreamResponse:
        """The same stream with topics and cursor in the body, for clients with many topics."""
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        body = await read_json(request, ConnectBody, max_bytes=_MAX_BODY_BYTES)
        streams = self._http_streams.streams
        stream = streams.user_stream(request, identity, body.topics, body.cursor)
        return await self._http_streams.stream(request, stream)

    @Operation(
        id="pollEvents",
        method="GET",
        paths=["/poll/connect/{user_id}", "/poll/connect"],
        tag="streams",
        summary="A user's events by long polling",
        security=USER,
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
                f"How many seconds to wait for events; {_WAIT_SECONDS:g} by default",
            ),
        ],
        responses=[
            json(200, PollResponse, "The stored events, or those that arrived within the wait")
        ],
        refuses=[429],
        long_lived=True,
    )
    async def poll(self, request: web.Request) -> web.StreamResponse:
        """One response, `{"events":[…],"cursor":"…"}`, when there are events or after `?wait=`."""
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        wait_seconds = query_seconds(
            request, "wait", default=_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS
        )
        stream = msgspec.structs.replace(
            self._http_streams.streams.user_request(request, identity),
            view=PollStream(ends_when_live=wait_seconds <= 0),
        )
        cursor = last_event_id(request) or request.query.get("cursor") or ""
        if UNKNOWN in stream.cursor.values():
            cursor = format_cursor(stream.cursor)
        return await self._http_streams.poll(
            request, stream, cursor=cursor.encode(), wait_seconds=wait_seconds
        )
