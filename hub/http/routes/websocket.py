"""GET /ws/connect/{user_id}: a user's stream over WebSocket, and the client's messages."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from aiohttp import HttpVersion11, web

from hub.api.authentication import Authenticator, Identity
from hub.api.generation_requests import GenerateBody, GenerationRequests
from hub.api.json_decoding import decode_json
from hub.api.origins import AllowedOrigins
from hub.api.problems import problem_from_error
from hub.api.streams import Streams
from hub.core.channel import topic_channel, topics_among
from hub.engine.generations.generations import Generations
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connection import Connection
from hub.engine.tasks import BackgroundTasks
from hub.error_codes import TOO_MANY_MESSAGES, WEBSOCKET_REQUIRED
from hub.errors import BadRequest, CallerError, HubError, TooManyRequests, UpgradeRequired
from hub.http.parameters import (
    CURSOR,
    HEARTBEAT,
    HEARTBEAT_EVENT,
    LAST_EVENT_ID,
    OPEN_USER,
    TOPICS,
    USER_ID,
)
from hub.http.routing import USER, Operation, ResponseSpec, build_routes
from hub.http.streams import HttpStreams
from hub.transports.websocket import handshake, is_valid_key

_MAX_CONCURRENT_MESSAGES: Final = 16
_MAX_UNANSWERED: Final = 64  # including the refused ones, whose replies wait for hub.open
_log = structlog.get_logger(__name__)


class ClientMessage(msgspec.Struct, frozen=True):
    """The fields of every message. id: the reply repeats it."""

    type: str
    id: Any = None


class Generate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`generate`: start a generation. body: as of POST /generations."""

    type: str
    body: GenerateBody
    id: Any = None


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`stop`: stop a generation. generation: its id."""

    type: str
    generation: str
    id: Any = None


class SetTopics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`subscribe` and `unsubscribe`: follow these topics, or stop following them."""

    type: str
    topics: list[str]
    id: Any = None


class WebSocketRoutes:
    """Routes of the public listener."""

    def __init__(
        self,
        http_streams: HttpStreams,
        authenticator: Authenticator,
        origins: AllowedOrigins,
        generations: Generations,
        requests: GenerationRequests,
        *,
        metrics: NodeMetrics,
    ) -> None:
        self._metrics = metrics
        self._http_streams = http_streams
        self._authenticator = authenticator
        self._origins = origins
        self._generations = generations
        self._requests = requests

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="openWebSocket",
        method="GET",
        paths=["/ws/connect/{user_id}", "/ws/connect"],
        tag="streams",
        summary="A user's events over WebSocket",
        security=USER,
        parameters=[
            *(USER_ID, OPEN_USER, TOPICS, CURSOR, LAST_EVENT_ID),
            *(HEARTBEAT, HEARTBEAT_EVENT),
        ],
        responses=[
            ResponseSpec(
                status=101,
                description="Each message is a StreamLine; the client may send `generate`, `stop`, "
                "`subscribe`, `unsubscribe` and `ping` (docs/reference/transports.md)",
            )
        ],
        refuses=[426, 429],
        long_lived=True,
    )
    async def connect(self, request: web.Request) -> web.StreamResponse:
        """101 and the stream, or 426 for a request that is not for WebSocket."""
        response = accept_upgrade(request, self._origins)
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        stream = self._http_streams.streams.user_request(request, identity)
        new_session = partial(
            _Session,
            self._http_streams.streams,
            identity,
            self._generations,
            self._requests,
            metrics=self._metrics,
        )
        return await self._http_streams.upgrade(
            request, stream, handshake=response, new_session=new_session
        )


def accept_upgrade(request: web.Request, origins: AllowedOrigins) -> bytes:
    """Return the response to an upgrade request, which the hub writes to the socket itself.

    Raise UpgradeRequired, BadRequest, Forbidden.
    """
    if not _is_upgrade(request) or request.headers.get("Sec-WebSocket-Version") != "13":
        raise UpgradeRequired("this route requires WebSocket, version 13", code=WEBSOCKET_REQUIRED)
    key = request.headers.get("Sec-WebSocket-Key", "")
    if not is_valid_key(key):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64")
    origins.check_websocket(request)
    return handshake(key)


def _is_upgrade(request: web.Request) -> bool:
    """Return whether it is an upgrade request: HTTP/1.1 and both headers (RFC 6455, 4.2.1)."""
    connection = request.headers.get("Connection", "").lower().replace(" ", "").split(",")
    upgrade = request.headers.get("Upgrade", "").lower()
    return request.version >= HttpVersion11 and upgrade == "websocket" and "upgrade" in connection


class _Session:
    """Handles the messages of one client. Each gets a reply, `hub.reply`, in the stream."""

    def __init__(
        self,
        streams: Streams,
        identity: Identity,
        generations: Generations,
        requests: GenerationRequests,
        connection: Connection,
        *,
        metrics: NodeMetrics,
    ) -> None:
        self._metrics = metrics
        self._streams = streams
        self._identity = identity
        self._user = identity.user
        self._generations = generations
        self._requests = requests
        self._connection = connection
        self._background_tasks = BackgroundTasks()
        self._topics_lock = asyncio.Lock()  # changes of the topics follow one another

    def on_message(self, message: bytes) -> None:
        """Handle a message in a background task; abort the connection if too many wait."""
        unanswered = len(self._background_tasks)
        if unanswered >= _MAX_UNANSWERED:
            self._connection.writer.abort()
        else:
            self._background_tasks.run(
                "message", self._reply_to(message, refuse=unanswered >= _MAX_CONCURRENT_MESSAGES)
            )

    async def _reply_to(self, message: bytes, *, refuse: bool) -> None:
        message_id = None
        try:
            head = decode_json(message, ClientMessage)
            message_id = head.id
            if refuse:
                raise TooManyRequests(
                    "too many messages at once; wait for the replies",
                    code=TOO_MANY_MESSAGES,
                    limit="messages",
                    retry_after_seconds=1,
                )
            reply = {"status": 200, **await self._execute(head, message)}
        except HubError as error:
            reply = problem_from_error(error)
            if isinstance(error, TooManyRequests):
                self._metrics.refused[error.limit] += 1
            if not isinstance(error, CallerError):
                _log.warning("message.failed", error=str(error))
        await self._connection.wait_open()  # hub.open comes first
        self._connection.send_event("hub.reply", {"to": message_id, **reply})

    async def _execute(self, head: ClientMessage, message: bytes) -> dict[str, Any]:
        match head.type:
            case "ping":
                return {}
            case "generate":
                self._identity.check_may_ask()
                body = decode_json(message, Generate).body
                if body.on_disconnect != "continue":
                    raise BadRequest(
                        "a generation that is started here continues after a disconnect; "
                        "stop it with a message",
                        path="body.on_disconnect",
                    )
                created = await self._requests.start(self._identity, body, body.id)
                return {"generation": created.generation}
            case "stop":
                self._identity.check_may_ask()
                stop = decode_json(message, Stop)
                result = await self._generations.stop(stop.generation, self._user)
                return {"generation": stop.generation, "answer": result.value}
            case "subscribe":
                added = decode_json(message, SetTopics).topics
                async with self._topics_lock:
                    return await self._set_topics({*self._topics(), *added})
            case "unsubscribe":
                removed = decode_json(message, SetTopics).topics
                async with self._topics_lock:
                    return await self._set_topics({*self._topics()}.difference(removed))
            case _:
                known = "generate, stop, subscribe, unsubscribe or ping"
                raise BadRequest(f"type must be {known}", path="type")

    async def _set_topics(self, topics: Collection[str]) -> dict[str, Any]:
        """Follow these topics, and return when the connection is live in all of them."""
        checked = self._streams.check_topics([*topics], self._identity)
        await self._streams.set_topics(self._connection, [*map(topic_channel, checked)])
        return {"topics": self._topics()}

    def _topics(self) -> list[str]:
        return topics_among(self._connection.channels)
