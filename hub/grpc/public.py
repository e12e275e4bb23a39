"""The gRPC service hub.v1.Hub, for the clients of users."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from hub.api.authentication import Authenticator
from hub.api.generation_requests import GenerationRequests
from hub.api.stop_on_disconnect import StopOnDisconnect
from hub.api.streams import StreamRequest, parse_requested_cursor, user_channels
from hub.engine.generations.generation_stream import GenerationStream
from hub.engine.generations.generations import Generations
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.errors import BadRequest
from hub.grpc import hub_pb2 as pb
from hub.grpc.event_streams import EventStreams
from hub.grpc.generation_bodies import generate_body
from hub.grpc.request_context import Context, GrpcRequestContext
from hub.grpc.statuses import StatusMapper

NAME: Final = pb.DESCRIPTOR.services_by_name["Hub"].full_name


class HubService:
    """The calls of the service."""

    def __init__(
        self,
        event_streams: EventStreams,
        authenticator: Authenticator,
        generations: Generations,
        requests: GenerationRequests,
        metrics: NodeMetrics,
    ) -> None:
        self._event_streams = event_streams
        self._streams = event_streams.streams
        self._authenticator = authenticator
        self._generations = generations
        self._requests = requests
        self._statuses = StatusMapper(metrics, "public")
        self._stop_on_disconnect = StopOnDisconnect(generations)

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
        self._event_streams.check_abandoned(identity.user)
        topics = self._streams.check_topics(request.topics, identity)
        channels = user_channels(identity.user, topics)
        cursor = parse_requested_cursor(request.cursor or "live", channels)
        stream = StreamRequest(identity=identity, channels=channels, cursor=cursor)
        await self._event_streams.stream(call, context, stream)

    async def generate(self, request: pb.GenerateRequest, context: Context) -> None:
        """Start a generation and stream its events until its end."""
        call = _call("Generate", request, context)
        identity = await self._authenticator.identify(call)
        identity.check_may_ask()
        self._event_streams.check_abandoned(identity.user)
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
            await self._event_streams.stream(call, context, stream)

    async def stop(self, request: pb.StopRequest, context: Context) -> pb.StopResponse:
        """Stop a generation. A caller that disconnects does not interrupt the stop."""
        identity = await self._authenticator.identify(_call("Stop", request, context))
        identity.check_may_ask()
        if not request.generation:
            raise BadRequest("generation is required", path="generation")
        result = await asyncio.shield(self._generations.stop(request.generation, identity.user))
        return pb.StopResponse(generation=request.generation, status=result.value)


def _call(name: str, request: Any, context: Context) -> GrpcRequestContext:
    return GrpcRequestContext(f"/{NAME}/{name}", context, user=request.user)
