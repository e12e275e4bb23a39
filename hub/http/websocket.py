"""GET /ws/connect/{user_id}: the same stream over WebSocket, and what the client says on it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from aiohttp import HttpVersion11, web

from hub.api.authentication import Authenticator, Identity, check_topics
from hub.api.generation_requests import GenerateBody, GenerationRequests
from hub.api.json_decoding import decode_json
from hub.api.origins import AllowedOrigins
from hub.api.problems import problem_from_error
from hub.api.streams import Streams
from hub.core.channel import topic_channel, topics_among
from hub.engine.connection import Connection
from hub.engine.generations import Generations
from hub.engine.node_metrics import NodeMetrics
from hub.engine.tasks import BackgroundTasks
from hub.errors import BadRequest, CallerError, HubError, TooManyRequests
from hub.http.errors import problem_response
from hub.http.parameters import CURSOR, LAST_EVENT_ID, OPEN_USER, TOPICS, USER_ID
from hub.http.routing import STREAM_USER, Operation, ResponseSpec, build_routes
from hub.http.streams import HttpStreams
from hub.transports.websocket import handshake, is_valid_key

_MAX_CONCURRENT_MESSAGES: Final = 16
_MAX_UNANSWERED: Final = 64  # the refused ones among them, which wait for hub.open
_log = structlog.get_logger(__name__)


class ClientMessage(msgspec.Struct, frozen=True):
    """What every message has. id: comes back in the reply."""

    type: str
    id: Any = None


class Generate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`generate`: as the body of POST /generations, in `body`."""

    type: str
    body: GenerateBody
    id: Any = None


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`stop`: the generation's id."""

    type: str
    generation: str
    id: Any = None


class SetTopics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`subscribe` and `unsubscribe`."""

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
        counts: NodeMetrics,
    ) -> None:
        self._counts = counts
        self._http_streams = http_streams
        self._authenticator = authenticator
        self._origins = origins
        self._generations = generations
        self._requests = requests

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/ws/connect/{user_id}", "/ws/connect"],
        tag="streams",
        summary="A user's events over WebSocket",
        security=STREAM_USER,
        parameters=[USER_ID, OPEN_USER, TOPICS, CURSOR, LAST_EVENT_ID],
        responses=[
            ResponseSpec(
                status=101,
                description="Each message is a StreamLine; the client may send `generate`, `stop`, "
                "`subscribe`, `unsubscribe` and `ping` (docs/transports.md)",
            )
        ],
        refuses=[426, 429],
        long_lived=True,
    )
    async def connect(self, request: web.Request) -> web.StreamResponse:
        """101, and the stream; 426 for who does not ask for WebSocket."""
        key = request.headers.get("Sec-WebSocket-Key", "")
        version = request.headers.get("Sec-WebSocket-Version")
        if not _asks_to_upgrade(request) or version != "13":
            headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            return problem_response(426, "this route speaks WebSocket, version 13", headers=headers)
        if not is_valid_key(key):
            raise BadRequest("Sec-WebSocket-Key is 16 bytes in base64")
        self._origins.check_websocket(request)
        identity = await self._authenticator.identify(request)
        stream = self._http_streams.streams.user_request(request, identity)
        new_session = partial(
            _Session,
            self._http_streams.streams,
            identity,
            self._generations,
            self._requests,
            counts=self._counts,
        )
        return await self._http_streams.upgrade(
            request, stream, handshake=handshake(key), new_session=new_session
        )


def _asks_to_upgrade(request: web.Request) -> bool:
    """RFC 6455, section 4.2.1: HTTP/1.1, and both headers."""
    connection = request.headers.get("Connection", "").lower().replace(" ", "").split(",")
    upgrade = request.headers.get("Upgrade", "").lower()
    return request.version >= HttpVersion11 and upgrade == "websocket" and "upgrade" in connection


class _Session:
    """What one client says: each message has a reply, `hub.reply`, in the stream."""

    def __init__(
        self,
        streams: Streams,
        identity: Identity,
        generations: Generations,
        questions: GenerationRequests,
        connection: Connection,
        *,
        counts: NodeMetrics,
    ) -> None:
        self._counts = counts
        self._streams = streams
        self._identity = identity
        self._user = identity.user
        self._generations = generations
        self._questions = questions
        self._connection = connection
        self._background_tasks = BackgroundTasks()
        self._turning = asyncio.Lock()

    def on_message(self, message: bytes) -> None:
        """A message came."""
        unanswered = len(self._background_tasks)
        if unanswered >= _MAX_UNANSWERED:
            self._connection.writer.abort()
        else:
            self._background_tasks.run(
                "said", self._reply_to(message, unanswered < _MAX_CONCURRENT_MESSAGES)
            )

    async def _reply_to(self, message: bytes, welcome: bool) -> None:
        to = None
        try:
            head = decode_json(message, ClientMessage)
            to = head.id
            if not welcome:
                raise TooManyRequests(
                    "one at a time, please", limit="messages", retry_after_seconds=1
                )
            reply = {"status": 200, **await self._do(head, message)}
        except HubError as error:
            reply = problem_from_error(error)
            if isinstance(error, TooManyRequests):
                self._counts.refused[error.limit] += 1
            if not isinstance(error, CallerError):
                _log.warning("message.failed", error=str(error))
        await self._connection.wait_open()  # hub.open comes first
        self._connection.send_event("hub.reply", {"to": to, **reply})

    async def _do(self, head: ClientMessage, message: bytes) -> dict[str, Any]:
        match head.type:
            case "ping":
                return {}
            case "generate":
                asked = decode_json(message, Generate).body
                if asked.on_disconnect != "continue":
                    raise BadRequest(
                        "an answer asked for here goes on: stop it by a message",
                        path="body.on_disconnect",
                    )
                created = await self._questions.start(self._user, asked, asked.id)
                return {"generation": created.generation}
            case "stop":
                stop = decode_json(message, Stop)
                answer = await self._generations.stop(stop.generation, self._user)
                return {"generation": stop.generation, "answer": answer.value}
            case "subscribe":
                wanted = decode_json(message, SetTopics).topics
                async with self._turning:
                    return await self._follow({*self._topics(), *wanted})
            case "unsubscribe":
                unwanted = decode_json(message, SetTopics).topics
                async with self._turning:
                    return await self._follow({*self._topics()}.difference(unwanted))
            case _:
                known = "generate, stop, subscribe, unsubscribe or ping"
                raise BadRequest(f"type is {known}", path="type")

    async def _follow(self, topics: Collection[str]) -> dict[str, Any]:
        """Replies when the connection is live in all of them."""
        most = self._streams.limits.max_topics
        named = check_topics([*topics], self._identity, max_topics=most)
        await self._streams.set_topics(self._connection, [*map(topic_channel, named)])
        return {"topics": self._topics()}

    def _topics(self) -> list[str]:
        return topics_among(self._connection.channels)
