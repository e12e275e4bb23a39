"""The gRPC service hub.v1.Hub, for the clients of users."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import grpc
from grpc.aio import BaseError

from hub.api.authentication import Authenticator
from hub.api.generation_requests import AnswerRecipient, GenerateBody, GenerationRequests
from hub.api.json_decoding import decode_json_field
from hub.api.stop_on_disconnect import StopOnDisconnect
from hub.api.streams import StreamRequest, Streams, parse_requested_cursor, user_channels
from hub.core.close_reason import CloseReason
from hub.core.generation import Message
from hub.engine.generation_stream import GenerationStream
from hub.engine.generations import Generations
from hub.engine.node_metrics import NodeMetrics
from hub.engine.tasks import BackgroundTasks
from hub.error_codes import TOO_MANY_CONNECTIONS
from hub.errors import BadRequest, TooManyRequests
from hub.grpc import hub_pb2 as pb
from hub.grpc.request_context import Context, GrpcRequestContext
from hub.grpc.statuses import StatusMapper, end_stream
from hub.transports.grpc import GrpcEventEncoder, GrpcWriter

NAME: Final = pb.DESCRIPTOR.services_by_name["Hub"].full_name
_MAX_ABANDONED: Final = 8
_RETRY_AFTER_SECONDS: Final = 10


class HubService:
    """The calls of the service.

    buffer_bytes: what one stream may buffer in the process before events wait in its outbox.
    """

    def __init__(
        self,
        streams: Streams,
        authenticator: Authenticator,
        generations: Generations,
        requests: GenerationRequests,
        metrics: NodeMetrics,
        *,
        buffer_bytes: int,
    ) -> None:
        self._streams = streams
        self._authenticator = authenticator
        self._generations = generations
        self._requests = requests
        self._buffer_bytes = buffer_bytes
        self._statuses = StatusMapper(metrics, "public")
        self._encoder = GrpcEventEncoder()
        self._background_tasks = BackgroundTasks()
        self._stop_on_disconnect = StopOnDisconnect(generations)
        # By user: calls that the hub has ended because the client does not read, and that are still
        # open because the client has not cancelled them either.
        self._abandoned: Counter[str] = Counter()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers. The streams have no serializer, since events are encoded already."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Connect": grpc.unary_stream_rpc_method_handler(
                    self._statuses.wrap(f"{NAME}/Connect", self.connect),
                    pb.ConnectRequest.FromString,
                ),
                "Generate": grpc.unary_stream_rpc_method_handler(
                    self._statuses.wrap(f"{NAME}/Generate", self.generate),
                    pb.GenerateRequest.FromString,
                ),
                "Stop": grpc.unary_unary_rpc_method_handler(
                    self._statuses.wrap(f"{NAME}/Stop", self.stop),
                    pb.StopRequest.FromString,
                    pb.StopResponse.SerializeToString,
                ),
            },
        )

    async def connect(self, request: pb.ConnectRequest, context: Context) -> None:
        """Stream the events of a user."""
        call = _call("Connect", request, context)
        identity = await self._authenticator.identify(call)
        identity.check_may_stream()
        self._check_abandoned(identity.user)
        topics = self._streams.check_topics(request.topics, identity)
        channels = user_channels(identity.user, topics)
        cursor = parse_requested_cursor(request.cursor or "live", channels)
        stream = StreamRequest(identity=identity, channels=channels, cursor=cursor)
        await self._stream(call, context, stream)

    async def generate(self, request: pb.GenerateRequest, context: Context) -> None:
        """Start a generation and stream its events until its end."""
        call = _call("Generate", request, context)
        identity = await self._authenticator.identify(call)
        identity.check_may_ask()
        self._check_abandoned(identity.user)
        self._streams.check_address(call)
        stops = request.on_disconnect == pb.ON_DISCONNECT_STOP
        body = generate_body(request)
        created = await self._stop_on_disconnect.start(
            self._requests.start(identity, body, request.id or None),
            identity.user,
            stops=stops,
        )
        with self._stop_on_disconnect.guard(
            created.generation, identity.user, stops=stops
        ) as guard:
            record = await self._generations.find(created.generation, identity.user)
            start = await self._generations.join(record, {})
            stream = StreamRequest(
                identity=identity,
                channels=[record.channel],
                cursor=start.cursor,
                view=GenerationStream(start.record, snapshot=start.snapshot),
                guard=guard,
            )
            await self._stream(call, context, stream)

    async def stop(self, request: pb.StopRequest, context: Context) -> pb.StopResponse:
        """Stop a generation."""
        identity = await self._authenticator.identify(_call("Stop", request, context))
        identity.check_may_ask()
        if not request.generation:
            raise BadRequest("generation is required", path="generation")
        result = await self._generations.stop(request.generation, identity.user)
        return pb.StopResponse(generation=request.generation, status=result.value)

    async def _stream(
        self, call: GrpcRequestContext, context: Context, stream: StreamRequest
    ) -> None:
        """Stream until the end. Only the task of the call writes to the call."""
        self._streams.check_address(call)
        user = stream.identity.user
        abandoned = False

        def on_stuck() -> None:
            nonlocal abandoned
            abandoned = True
            self._abandoned[user] += 1
            self._background_tasks.run("abort slow call", _abort_slow(context))

        writer = GrpcWriter(buffer_bytes=self._buffer_bytes, on_stuck=on_stuck)
        connection = self._streams.open_connection(
            call, stream, encoder=self._encoder, writer=writer
        )
        self._streams.attach(connection, stream)
        try:
            await writer.pump(context.write)
        except BaseError:
            return  # the client disconnected during a write
        finally:
            connection.on_disconnect()  # does nothing if the connection has closed already
            if abandoned:
                self._abandoned -= Counter([user])  # in place; also drops users with zero calls
        if abandoned:
            # The background task may not have run yet; without a status the call would end as OK.
            await _abort_slow(context)
        elif connection.close_reason is not None:
            await end_stream(context, connection.close_reason)

    def _check_abandoned(self, user: str) -> None:
        """Raise TooManyRequests if the user has too many abandoned calls.

        Such a call no longer counts as a stream, but it holds memory until the client reads what
        gRPC has buffered or cancels the call.
        """
        if self._abandoned[user] >= _MAX_ABANDONED:
            raise TooManyRequests(
                f"{_MAX_ABANDONED} of your streams are neither read nor cancelled: cancel them",
                code=TOO_MANY_CONNECTIONS,
                limit="given_up",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )


async def _abort_slow(context: Context) -> None:
    """End the call of a client that does not read.

    The status is sent after what gRPC has buffered. The task of the call waits until that has been
    sent or the connection ends.
    """
    try:
        await end_stream(context, CloseReason.SLOW)
    except BaseError:
        pass  # raised when the status is set, and also if the client has disconnected meanwhile


def _call(name: str, request: Any, context: Context) -> GrpcRequestContext:
    return GrpcRequestContext(f"/{NAME}/{name}", context, user=request.user)


def generate_body(request: pb.GenerateRequest) -> GenerateBody:
    """Convert a request to the body of POST /generations. Raise BadRequest that names the field."""
    return GenerateBody(
        prompt=request.prompt or None,
        messages=[_message(each, n) for n, each in enumerate(request.messages)] or None,
        model=request.model or None,
        upstream=request.upstream or None,
        params=decode_json_field(request.params, dict[str, Any], "params") or {},
        metadata=decode_json_field(request.metadata, dict[str, Any], "metadata") or {},
        chat=request.chat or None,
        on_busy=_on_busy(request.on_busy),
        to=AnswerRecipient(topic=request.topic) if request.topic else None,
    )


def _on_busy(value: pb.OnBusy) -> str:
    """Return the value of `on_busy` in the body; one that the hub does not know stays a number."""
    try:
        return pb.OnBusy.Name(value).removeprefix("ON_BUSY_").lower()
    except ValueError:
        return str(value)


def _message(message: pb.Message, number: int) -> Message:
    at = f"messages[{number}]"
    return Message(
        role=message.role,
        content=message.content
        or decode_json_field(message.content_json, Any, f"{at}.content_json"),
        name=message.name or None,
        tool_calls=decode_json_field(message.tool_calls, list[Any], f"{at}.tool_calls"),
        reasoning_content=message.reasoning_content or None,
        reasoning_details=decode_json_field(
            message.reasoning_details, list[Any], f"{at}.reasoning_details"
        ),
        tool_call_id=message.tool_call_id or None,
    )
