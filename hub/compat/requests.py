"""What the routes of all client dialects share: start a generation, and stream its answer or wait
for it.

The generation belongs to the user like any other: it continues when the client disconnects (unless
the request says `on_disconnect: stop`), every node can show it, and DELETE /generations/{id} stops
it. The dialects read the request body and encode the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator, Identity
from hub.api.generation_requests import GenerateBody, GenerationRequests
from hub.api.heartbeats import Heartbeats
from hub.api.origins import AllowedOrigins
from hub.api.stop_on_disconnect import DisconnectGuard, StopOnDisconnect
from hub.api.streams import StreamRequest
from hub.compat.answer_encoder import AnswerEncoderBase
from hub.compat.answer_state import AnswerCollector, AnswerState
from hub.compat.failures import failure_response, has_failed_before_output
from hub.compat.input_pauses import InputDecisions
from hub.core.channel import user_channel
from hub.core.close_reason import CloseReason
from hub.core.generation import Generation
from hub.core.sse import HEARTBEAT
from hub.engine.generations.compat_stream import CompatStream
from hub.engine.generations.generations import Generations, ReplayStart
from hub.engine.generations.inputs import Inputs
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connection import Connection
from hub.engine.streams.stream_view import StreamView
from hub.errors import GenerationStillRunning
from hub.http.json_body import read_json
from hub.http.routes.websocket import accept_upgrade
from hub.http.streams import ClientMessages, HttpStreams
from hub.ports.compat import AnswerEncoder
from hub.ports.generations import CreatedGeneration
from hub.transports.websocket import WebSocketMessageEncoder

C = TypeVar("C", bound=AnswerCollector)
_MESSAGE_ENCODER: Final = WebSocketMessageEncoder()
_CLOSED: Final = "the hub closed this request; the answer continues as generation {}"


class CompatRequests:
    """Starts generations for the clients of other APIs and sends them the answers.

    max_hold_seconds: how long the status line of a stream waits for the answer to begin.
    """

    def __init__(
        self,
        generations: Generations,
        http_streams: HttpStreams,
        authenticator: Authenticator,
        requests: GenerationRequests,
        origins: AllowedOrigins,
        *,
        inputs: Inputs,
        metrics: NodeMetrics,
        max_hold_seconds: float,
    ) -> None:
        self._metrics = metrics
        self.generations = generations
        self.requests = requests
        self.decisions = InputDecisions(inputs, generations)
        self._http_streams = http_streams
        self._authenticator = authenticator
        self._origins = origins
        self._max_hold_seconds = max_hold_seconds
        self._stop_on_disconnect = StopOnDisconnect(generations)

    async def identify(self, request: web.Request) -> Identity:
        """Return the user of a request. Raise Unauthorized, Forbidden, BadRequest."""
        identity = await self._authenticator.identify(request)
        identity.check_may_ask()
        return identity

    async def read_body(self, request: web.Request) -> dict[str, Any]:
        """Return the body, a JSON object that may have unknown fields. Raise BadRequest."""
        if request.content_type != "application/json":
            self._origins.check_simple_request(request)
        max_bytes = self.requests.max_prompt_bytes
        return await read_json(request, dict[str, Any], max_bytes=max_bytes, allow_text=True)

    async def start(
        self,
        request: web.Request,
        identity: Identity,
        body: GenerateBody,
        *,
        key: str | None = None,
        chat: str | None = None,
        is_stream: bool = True,
    ) -> CreatedGeneration:
        """Queue a generation.

        key: the idempotency key if the request has no header `Idempotency-Key`. chat: the id of the
        chat that the generation belongs to. is_stream: whether the client stays connected for the
        answer; then a node without a free connection refuses the request.
        Raise BadRequest, NotFound, TooManyRequests, BrokerUnavailable.
        """
        stops = body.stops_on_disconnect()
        self._requested_heartbeats(request)
        if is_stream:
            self._http_streams.streams.check_capacity(request)
        key = request.headers.get("Idempotency-Key") or key
        start = self.start_for(identity, body, key, chat=chat)
        return await self._stop_on_disconnect.start(start, identity.user, stops=stops)

    async def start_for(
        self,
        identity: Identity,
        body: GenerateBody,
        key: str | None = None,
        *,
        chat: str | None = None,
    ) -> CreatedGeneration:
        """Queue a generation of a client that is connected already. Parameters and errors as in
        `start`.
        """
        if body.upstream is None:
            upstream, model = self.requests.find(body.model)
            body = msgspec.structs.replace(body, upstream=upstream, model=model)
        return await self.requests.start(identity, body, key, chat=chat)

    def has_kind(self, kind: str, body: Mapping[str, Any]) -> bool:
        """Return whether the upstream that a body names, or its model, has this wire format."""
        upstream, model = body.get("upstream"), body.get("model")
        if not isinstance(upstream, str):
            upstream, _ = self.requests.find(model if isinstance(model, str) else None)
        return self.requests.kind_of(upstream) == kind

    def guard(self, generation: str, user: str, *, stops: bool) -> DisconnectGuard:
        """Return the guard of a generation that was started with `start_for`."""
        return self._stop_on_disconnect.guard(generation, user, stops=stops)

    async def open_web_socket(
        self,
        request: web.Request,
        identity: Identity,
        view: StreamView,
        new_session: Callable[[Connection], ClientMessages],
    ) -> web.StreamResponse:
        """Upgrade the request to a WebSocket that shows the user's channel with this view.

        new_session: makes the receiver of the client's messages. Returns and raises as
        HttpStreams.upgrade; raise UpgradeRequired, BadRequest, Forbidden.
        """
        response = accept_upgrade(request, self._origins)
        stream = StreamRequest(
            identity=identity, channels=[user_channel(identity.user)], cursor={}, view=view
        )
        return await self._http_streams.upgrade(
            request,
            stream,
            handshake=response,
            new_session=new_session,
            encoder=_MESSAGE_ENCODER,
            max_message_bytes=self.requests.max_prompt_bytes,
        )

    def count_refusal(self, limit: str) -> None:
        """Count a message that was refused because of a limit; requests are counted elsewhere."""
        self._metrics.refused[limit] += 1

    async def stream(
        self,
        request: web.Request,
        identity: Identity,
        generation: str,
        new_encoder: Callable[[Generation], AnswerEncoderBase],
        *,
        from_chunk: int = 0,
        headers: Mapping[str, str] | None = None,
        stop_on_disconnect: bool = False,
        holds_status: bool = False,
        refuse: Callable[[AnswerState], web.Response] = failure_response,
        heartbeat: bytes = HEARTBEAT,
    ) -> web.StreamResponse:
        """Stream the answer in the encoder's dialect, without the chunks before `from_chunk`.

        holds_status: send the headers when the answer begins, at most `max_hold_seconds` or the
        requested interval of heartbeats later, so that an answer that fails before it begins gets
        the HTTP status of its failure. refuse: returns the response to such a failure. heartbeat:
        what the stream has as a heartbeat.
        """
        sent_headers = {**location_of(generation), **(headers or {})}
        with self._stop_on_disconnect.guard(
            generation, identity.user, stops=stop_on_disconnect
        ) as guard:
            replay = await self.generations.open_replay(generation, identity.user)
            encoder = new_encoder(replay.record)
            view = CompatStream(replay, encoder, from_chunk=from_chunk)
            heartbeats = self._requested_heartbeats(request)
            stream = _stream_request(identity, replay, view, guard, heartbeats)
            if not holds_status:
                return await self._http_streams.stream(
                    request, stream, sent_headers, always_sse=True
                )
            return await self._http_streams.stream_when(
                request,
                stream,
                sent_headers,
                is_ready=lambda: encoder.answer.has_output,
                refusal=lambda: (
                    refuse(encoder.answer) if has_failed_before_output(encoder.answer) else None
                ),
                heartbeat=heartbeat,
                max_hold_seconds=heartbeats.seconds or self._max_hold_seconds,
            )

    def _requested_heartbeats(self, request: web.Request) -> Heartbeats:
        return self._http_streams.streams.requested_heartbeats(request, can_be_events=False)

    async def wait_for_answer(
        self,
        request: web.Request,
        identity: Identity,
        generation: str,
        new_collector: Callable[[Generation], C],
        *,
        stop_on_disconnect: bool = False,
    ) -> C:
        """Wait for the end of the answer and return it, in a collector of the dialect.

        Raise GenerationStillRunning if the hub must close the request earlier.
        """
        for _ in range(2):  # repeat once if the log has lost the beginning of the answer meanwhile
            with self._stop_on_disconnect.guard(
                generation, identity.user, stops=stop_on_disconnect
            ) as guard:
                replay = await self.generations.open_replay(generation, identity.user)
                collected = new_collector(replay.record)
                view = CompatStream(replay, collected)
                stream = _stream_request(identity, replay, view, guard, Heartbeats())
                reason = await self._http_streams.wait_for_end(request, stream)
            if reason is CloseReason.ENDED:
                return collected
            if reason is not CloseReason.TRIMMED:
                break
        raise GenerationStillRunning(_CLOSED.format(generation))

    async def count_chunks(self, replay: ReplayStart, encoder: AnswerEncoder) -> int:
        """Feed the events stored so far to an encoder, and return the number of its chunks."""
        count = len(encoder.start())
        async for name, data in self.generations.stored_events(replay):
            count += len(encoder.feed(name, data))
        return count


def _stream_request(
    identity: Identity,
    replay: ReplayStart,
    view: CompatStream,
    guard: DisconnectGuard,
    heartbeats: Heartbeats,
) -> StreamRequest:
    return StreamRequest(
        identity=identity,
        channels=[replay.record.channel],
        cursor=replay.cursor,
        view=view,
        guard=guard,
        heartbeats=heartbeats,
    )


def location_of(generation: str) -> dict[str, str]:
    """Return the header that names the generation of an answer."""
    return {"Location": f"/generations/{generation}"}
