"""hub.v1.Hub: what users' clients may call."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import grpc
from grpc.aio import BaseError

from hub.api.authentication import Authenticator, check_topics
from hub.api.generation_requests import GenerateBody, GenerationRequests
from hub.api.json_decoding import decode_json_field
from hub.api.stop_on_disconnect import StopOnDisconnect
from hub.api.streams import StreamRequest, Streams, parse_requested_cursor, user_channels
from hub.core.channel import user_channel
from hub.core.close_reason import CloseReason
from hub.core.generation import Message
from hub.engine.generation_stream import GenerationStream
from hub.engine.generations import Generations
from hub.engine.node_metrics import NodeMetrics
from hub.engine.tasks import BackgroundTasks
from hub.errors import BadRequest, TooManyRequests
from hub.grpc import hub_pb2 as pb
from hub.grpc.request_context import Context, GrpcRequestContext
from hub.grpc.statuses import StatusMapper, end
from hub.transports.grpc import GrpcEventEncoder, GrpcWriter

NAME: Final = pb.DESCRIPTOR.services_by_name["Hub"].full_name
_MOST_GIVEN_UP: Final = 8
_RETRY_SECONDS: Final = 10


class HubService:
    """Its calls. buffer_bytes: what one stream may hold before events wait in its outbox."""

    def __init__(
        self,
        streams: Streams,
        authenticator: Authenticator,
        generations: Generations,
        requests: GenerationRequests,
        counts: NodeMetrics,
        *,
        buffer_bytes: int,
    ) -> None:
        self._streams = streams
        self._authenticator = authenticator
        self._generations = generations
        self._requests = requests
        self._buffer_bytes = buffer_bytes
        self._statuses = StatusMapper(counts, "public")
        self._encoder = GrpcEventEncoder()
        self._background_tasks = BackgroundTasks()
        self._stop_on_disconnect = StopOnDisconnect(generations)
        self._given_up: Counter[str] = Counter()  # calls of a user that neither read nor hung up

    def handlers(self) -> grpc.GenericRpcHandler:
        """Events are bytes already, so the streams have no serializer."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Connect": grpc.unary_stream_rpc_method_handler(
                    self._statuses.of(f"{NAME}/Connect", self.connect), pb.ConnectRequest.FromString
                ),
                "Generate": grpc.unary_stream_rpc_method_handler(
                    self._statuses.of(f"{NAME}/Generate", self.generate),
                    pb.GenerateRequest.FromString,
                ),
                "Stop": grpc.unary_unary_rpc_method_handler(
                    self._statuses.of(f"{NAME}/Stop", self.stop),
                    pb.StopRequest.FromString,
                    pb.StopResponse.SerializeToString,
                ),
            },
        )

    async def connect(self, request: pb.ConnectRequest, context: Context) -> None:
        """A user's events."""
        call = _call("Connect", request, context)
        identity = await self._authenticator.identify(call)
        self._check_reads(identity.user)
        topics = check_topics(request.topics, identity, max_topics=self._streams.limits.max_topics)
        channels = user_channels(identity.user, topics)
        cursor = parse_requested_cursor(request.cursor or "live", channels)
        stream = StreamRequest(identity=identity, channels=channels, cursor=cursor)
        await self._stream(call, context, stream)

    async def generate(self, request: pb.GenerateRequest, context: Context) -> None:
        """A question, and its answer alone."""
        call = _call("Generate", request, context)
        identity = await self._authenticator.identify(call)
        self._check_reads(identity.user)
        self._streams.check_address(call)
        stops = request.on_disconnect == pb.ON_DISCONNECT_STOP
        asking = self._requests.start(identity.user, body_of(request), request.id or None)
        created = await self._stop_on_disconnect.start(asking, identity.user, stops=stops)
        with self._stop_on_disconnect.guard(
            created.generation, identity.user, stops=stops
        ) as guard:
            start = await self._generations.join(created.generation, identity.user, {})
            stream = StreamRequest(
                identity=identity,
                channels=[user_channel(identity.user)],
                cursor=start.cursor,
                view=GenerationStream(start.record, snapshot=start.snapshot),
                guard=guard,
            )
            await self._stream(call, context, stream)

    async def stop(self, request: pb.StopRequest, context: Context) -> pb.StopResponse:
        """Stops an answer."""
        user = (await self._authenticator.identify(_call("Stop", request, context))).user
        if not request.generation:
            raise BadRequest("say which generation", path="generation")
        answer = await self._generations.stop(request.generation, user)
        return pb.StopResponse(generation=request.generation, status=answer.value)

    async def _stream(
        self, call: GrpcRequestContext, context: Context, stream: StreamRequest
    ) -> None:
        """The stream's life, in the call's own task: the one writer, and the end."""
        self._streams.check_address(call)
        user = stream.identity.user
        given_up = False

        def give_up() -> None:
            nonlocal given_up
            given_up = True
            self._given_up[user] += 1
            self._background_tasks.run("give up", _give_up(context))

        writer = GrpcWriter(buffer_bytes=self._buffer_bytes, on_stuck=give_up)
        connection = self._streams.open_connection(
            call, stream, encoder=self._encoder, writer=writer
        )
        self._streams.attach(connection, stream)
        try:
            await writer.pump(context.write)
        except BaseError:
            return  # the client has left in the middle of a message
        finally:
            connection.on_disconnect()  # nothing, when it has ended already
            if given_up:
                self._given_up -= Counter([user])  # in place, without what is zero
        if given_up:
            await _give_up(context)  # its errand may not have come to it yet, and we end as OK
        elif connection.close_reason is not None:
            await end(context, connection.close_reason)

    def _check_reads(self, user: str) -> None:
        """Raises TooMany: what was given up counts as no stream any more, and is here all the same
        until the client takes what it was sent.
        """
        if self._given_up[user] >= _MOST_GIVEN_UP:
            raise TooManyRequests(
                f"{_MOST_GIVEN_UP} streams of yours were given up and not hung up: read or cancel",
                limit="given_up",
                retry_after_seconds=_RETRY_SECONDS,
            )


async def _give_up(context: Context) -> None:
    """The status for a client that does not read: it stands behind what gRPC holds already. The
    call's own task still waits for that to leave, and ends with it or with the connection.
    """
    try:
        await end(context, CloseReason.SLOW)
    except BaseError:
        pass  # so it says that it has done it, or that the client has left meanwhile


def _call(name: str, request: Any, context: Context) -> GrpcRequestContext:
    return GrpcRequestContext(f"/{NAME}/{name}", context, user=request.user)


def body_of(request: pb.GenerateRequest) -> GenerateBody:
    """What POST /generations takes. Raises BadRequest that names the field."""
    return GenerateBody(
        prompt=request.prompt or None,
        messages=[_message(each, n) for n, each in enumerate(request.messages)] or None,
        model=request.model or None,
        upstream=request.upstream or None,
        params=decode_json_field(request.params, dict[str, Any], "params") or {},
        metadata=decode_json_field(request.metadata, dict[str, Any], "metadata") or {},
    )


def _message(message: pb.Message, number: int) -> Message:
    at = f"messages[{number}]"
    return Message(
        role=message.role,
        content=message.content
        or decode_json_field(message.content_json, Any, f"{at}.content_json"),
        name=message.name or None,
        tool_calls=decode_json_field(message.tool_calls, list[Any], f"{at}.tool_calls"),
        tool_call_id=message.tool_call_id or None,
    )
