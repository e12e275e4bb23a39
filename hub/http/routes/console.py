"""/console: the operators' page on the internal listener, the streams that it shows, and the
notifications that operators send with it.

The page and its files contain no data, so they need no API key. The page requests the data with the
key that the operator enters.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog
from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.api.authentication import Identity
from hub.api.publish_requests import PublishBody, PublishRequests, PublishResponse, Recipients
from hub.api.streams import StreamRequest, parse_requested_cursor
from hub.core.channel import (
    CONSOLE_USER,
    TopicName,
    UserId,
    check_topic,
    check_user_id,
    topic_channel,
    user_channel,
)
from hub.core.system_events import CONSOLE_EVENTS, CONTROL_EVENTS, USER_EVENTS
from hub.engine.metrics.live_metrics import LIVE_METRICS_CHANNEL
from hub.errors import BadRequest
from hub.http.json_body import json_response, read_json
from hub.http.parameters import CURSOR
from hub.http.routing import (
    EventSet,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
    key,
)
from hub.http.static_files import FILE_NAME, FILE_RESPONSES, PAGE_RESPONSES, StaticFiles
from hub.http.streams import HttpStreams

_SHARED: Final = tuple(
    f"demo/{name}" for name in ("dom.js", "icon.svg", "theme.css", "theme.js", "theme_button.js")
)
_log = structlog.get_logger(__name__)


class ConsoleNotification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /console/notifications."""

    user: UserId
    title: str


class ConsoleRoutes:
    """The console's routes on the internal listener."""

    def __init__(
        self, http_streams: HttpStreams, keys: ApiKeys, publish_requests: PublishRequests
    ) -> None:
        self._http_streams = http_streams
        self._keys = keys
        self._publish_requests = publish_requests
        self._pages = StaticFiles("console", *_SHARED)

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getConsole",
        method="GET",
        paths=["/console"],
        tag="console",
        summary="Open the console",
        responses=PAGE_RESPONSES,
    )
    async def page(self, request: web.Request) -> web.Response:
        """Returns the operators' page."""
        return self._pages.response(request, "console.html")

    @Operation(
        id="streamReports",
        method="GET",
        paths=["/console/reports"],
        tag="console",
        summary="Stream the reports of nodes and workers",
        security=key("read"),
        responses=[
            ResponseSpec(
                status=200,
                description="The reports, until the client disconnects or the hub ends the stream.",
                events=EventSet(name="Console", data={**CONSOLE_EVENTS, **CONTROL_EVENTS}),
            )
        ],
        refuses=[429],
        long_lived=True,
    )
    async def reports(self, request: web.Request) -> web.StreamResponse:
        """Streams `hub.report` events `{from, at, metrics}`, one per process and second."""
        self._keys.check(request, "read")
        stream = StreamRequest(
            identity=Identity(CONSOLE_USER), channels=[LIVE_METRICS_CHANNEL], cursor={}
        )
        return await self._http_streams.stream(request, stream)

    @Operation(
        id="tailChannel",
        method="GET",
        paths=["/console/tail"],
        tag="console",
        summary="Follow the events of a user or a topic",
        security=key("read"),
        parameters=[
            Parameter("query", "user", UserId, "The user whose events are sent"),
            Parameter("query", "topic", TopicName, "The topic whose events are sent"),
            CURSOR,
        ],
        responses=[
            ResponseSpec(
                status=200,
                description="The events, until the client disconnects or the hub ends the stream.",
                events=EventSet(
                    name="Tail", data={**USER_EVENTS, **CONTROL_EVENTS}, has_published=True
                ),
            )
        ],
        refuses=[429],
        long_lived=True,
    )
    async def tail(self, request: web.Request) -> web.StreamResponse:
        """Streams the events of one user or one topic as they happen. Needs either `user` or
        `topic`. The reader is no member of the topic, and no user sees it.
        """
        self._keys.check(request, "read")
        user, topic = request.query.get("user"), request.query.get("topic")
        if (user is None) == (topic is None):
            raise BadRequest("either user or topic is required", path="user")
        if user is not None:
            channel = user_channel(check_user_id(user, path="user"))
        else:
            channel = topic_channel(check_topic(topic or "", path="topic"))
        cursor = parse_requested_cursor(request.query.get("cursor", "live"), [channel])
        stream = StreamRequest(identity=Identity(CONSOLE_USER), channels=[channel], cursor=cursor)
        return await self._http_streams.stream(request, stream)

    @Operation(
        id="sendConsoleNotification",
        method="POST",
        paths=["/console/notifications"],
        tag="console",
        summary="Notify a user as an operator",
        security=key("publish"),
        body=json_body(ConsoleNotification),
        responses=[json(200, PublishResponse, "The notification was published.")],
        refuses=[429],
    )
    async def notify(self, request: web.Request) -> web.Response:
        """Publishes a `notification` with a title to one user. Unlike `POST /publish`, the log has
        the name of the key (`audit.notified`).
        """
        key = self._publish_requests.authenticate(request)
        self._publish_requests.rate_limits.check(key)
        max_bytes = self._publish_requests.limits.max_body_bytes
        body = await read_json(request, ConsoleNotification, max_bytes=max_bytes)
        data = msgspec.Raw(msgspec.json.encode({"title": body.title}))
        event = PublishBody(Recipients(user=body.user), data=data)
        response = await self._publish_requests.publish(event)
        _log.info("audit.notified", by=key, user=body.user)
        return json_response(response)

    @Operation(
        id="getConsoleFile",
        method="GET",
        paths=["/console/{name}"],
        tag="console",
        summary="Get a file of the console",
        parameters=[FILE_NAME],
        responses=FILE_RESPONSES,
        refuses=[404],
    )
    async def file(self, request: web.Request) -> web.Response:
        """Returns a file of the operators' page."""
        return self._pages.response(request, request.match_info["name"])
