"""The stream of one generation as an HTTP response, on the public listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from hub.api.authentication import Identity
from hub.api.heartbeats import Heartbeats
from hub.api.stop_on_disconnect import StopOnDisconnect
from hub.api.streams import StreamRequest, requested_cursor, without_start
from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.system_events import CONTROL_EVENTS, GENERATION_EVENTS
from hub.engine.generations.compat_stream import CompatStream
from hub.engine.generations.generation_stream import GenerationStream
from hub.engine.generations.generations import Generations
from hub.http.parameters import HEARTBEAT, HEARTBEAT_EVENT, LOCATED, OUTPUT_TEMPLATE
from hub.http.routing import EventSet, ResponseSpec
from hub.http.streams import HttpStreams, accepts
from hub.ports.compat import EncoderFactory

SelectEncoder = Callable[[web.Request], EncoderFactory | None]
"""Return the encoder that a request asks for, None for the hub's own events. Raise BadRequest."""

_CONTROL: Final = ("hub.reset", "hub.expiring", "hub.heartbeat", "hub.bye")
STREAMED: Final = ResponseSpec(
    status=200,
    description="The events of the generation until its end. The schema is that of the hub's own "
    "events; `shape` selects another format.",
    events=EventSet(
        name="Generation",
        data={**GENERATION_EVENTS, **{name: CONTROL_EVENTS[name] for name in _CONTROL}},
    ),
    headers=LOCATED,
)
STREAM_PARAMETERS: Final = (OUTPUT_TEMPLATE, HEARTBEAT, HEARTBEAT_EVENT)


class GenerationStreams:
    """Streams generations to the clients that start them, and to those that join them."""

    def __init__(
        self, generations: Generations, http_streams: HttpStreams, select_encoder: SelectEncoder
    ) -> None:
        self.stop_on_disconnect = StopOnDisconnect(generations)
        self._generations = generations
        self._http_streams = http_streams
        self._select_encoder = select_encoder

    def check(self, request: web.Request) -> None:
        """Check what a request says about its stream, before it starts a generation.

        Raise BadRequest, and TooManyRequests for an address with too many streams.
        """
        self._format(request)
        self._http_streams.streams.check_address(request)

    async def stream(
        self,
        request: web.Request,
        generation: str,
        identity: Identity,
        *,
        resumes: bool,
        stop_on_disconnect: bool = False,
    ) -> web.StreamResponse:
        """Send a snapshot or what follows the cursor, then the further events until the end.

        resumes: whether the request may name a cursor. stop_on_disconnect: whether the generation
        stops when the client disconnects. Returns and raises as HttpStreams.stream, and 204 for a
        client that has everything.
        """
        headers = {"Location": f"/generations/{generation}"}
        with self.stop_on_disconnect.guard(
            generation, identity.user, stops=stop_on_disconnect
        ) as guard:
            new_encoder, heartbeats = self._format(request)
            if new_encoder is not None:
                replay = await self._generations.open_replay(
                    generation, identity.user, identity.topics
                )
                stream = StreamRequest(
                    identity=identity,
                    channels=[replay.record.channel],
                    cursor=replay.cursor,
                    view=CompatStream(replay, new_encoder(replay.record)),
                    guard=guard,
                    heartbeats=heartbeats,
                )
                return await self._http_streams.stream(request, stream, headers, always_sse=True)
            record = await self._generations.read(generation, identity.user, identity.topics)
            channels, cursor = [record.channel], dict[Channel, Position]()
            if resumes:
                cursor = requested_cursor(request, channels, request.query.get("cursor"))
            start = await self._generations.join(record, cursor)
            if start.has_all:
                return web.Response(status=204)  # EventSource does not reconnect after a 204
            stream = StreamRequest(
                identity=identity,
                channels=channels,
                cursor=start.cursor,
                client_cursor=without_start(cursor),
                view=GenerationStream(start.record, snapshot=start.snapshot),
                guard=guard,
                heartbeats=heartbeats,
            )
            return await self._http_streams.stream(request, stream, headers)

    def _format(self, request: web.Request) -> tuple[EncoderFactory | None, Heartbeats]:
        """Return the encoder of a stream, None for the hub's own events, and its heartbeats.

        Raise BadRequest.
        """
        new_encoder = self._select_encoder(request)
        return new_encoder, self._http_streams.streams.requested_heartbeats(
            request, can_be_events=new_encoder is None
        )


def wants_stream(request: web.Request) -> bool:
    """Return whether a request asks for the stream, where it could also get one JSON response."""
    return (
        "shape" in request.query
        or accepts(request, "text/event-stream")
        or accepts(request, "application/x-ndjson")
    )
