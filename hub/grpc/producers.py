"""The calls of hub.v1.HubInternal for external producers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc

from hub.api.job_requests import JobRequests
from hub.api.producer_requests import ProducerRequests
from hub.api.producer_responses import ClaimResponse, describe_attempt, describe_post
from hub.api.streamed_posts import StreamedPost, StreamedPostLimits
from hub.core.external_producer import DEFAULT_LEASE_SECONDS
from hub.engine.external.external_producers import PostResult, StartedAttempt
from hub.engine.tasks import BackgroundTasks, cancel_and_wait
from hub.error_codes import NODE_DRAINING
from hub.errors import BadRequest, NodeBusy
from hub.grpc import hub_pb2 as pb
from hub.grpc.event_streams import EventStreams
from hub.grpc.generation_bodies import produce_body
from hub.grpc.posted_messages import MessageSource
from hub.grpc.producer_messages import attempt_message, claim_body, job_message, parts_message
from hub.grpc.request_context import Context, GrpcRequestContext, require_field
from hub.grpc.statuses import StatusMapper
from hub.ports.clock import Clock

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["HubInternal"].full_name


class ProducerCalls:
    """The calls that need the scope `produce`.

    A caller that disconnects interrupts none of them between two steps of the broker.
    """

    def __init__(
        self,
        requests: ProducerRequests,
        jobs: JobRequests,
        event_streams: EventStreams,
        statuses: StatusMapper,
        *,
        clock: Clock,
        limits: StreamedPostLimits,
    ) -> None:
        self._requests = requests
        self._jobs = jobs
        self._event_streams = event_streams
        self._statuses = statuses
        self._clock = clock
        self._limits = limits
        self._tasks = BackgroundTasks()

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by the name of their call."""
        wrap = self._statuses.wrap
        return {
            "StartExternal": grpc.unary_unary_rpc_method_handler(
                wrap(f"{_SERVICE}/StartExternal", self.start),
                pb.StartExternalRequest.FromString,
                pb.StartExternalResponse.SerializeToString,
            ),
            "PostParts": grpc.stream_stream_rpc_method_handler(
                wrap(f"{_SERVICE}/PostParts", self.post),
                pb.PostPartsRequest.FromString,
                pb.PostPartsResponse.SerializeToString,
            ),
            "ClaimJobs": grpc.unary_unary_rpc_method_handler(
                wrap(f"{_SERVICE}/ClaimJobs", self.claim),
                pb.ClaimJobsRequest.FromString,
                pb.ClaimJobsResponse.SerializeToString,
            ),
            "ReleaseLease": grpc.unary_unary_rpc_method_handler(
                wrap(f"{_SERVICE}/ReleaseLease", self.release),
                pb.ReleaseLeaseRequest.FromString,
                pb.ReleaseLeaseResponse.SerializeToString,
            ),
            "Control": grpc.unary_stream_rpc_method_handler(  # its events are encoded already
                wrap(f"{_SERVICE}/Control", self.control), pb.ControlRequest.FromString
            ),
        }

    async def start(
        self, request: pb.StartExternalRequest, context: Context
    ) -> pb.StartExternalResponse:
        """Start an answer, or the next attempt at it."""
        self._requests.authenticate(_call("StartExternal", context))
        started = await asyncio.shield(
            self._requests.start(produce_body(request), request.id or None)
        )
        assert isinstance(started, StartedAttempt)
        return attempt_message(describe_attempt(started))

    async def post(self, messages: AsyncIterator[pb.PostPartsRequest], context: Context) -> None:
        """Publish parts while they arrive, and acknowledge each publish."""
        self._requests.authenticate(_call("PostParts", context))
        producers = self._requests.producers
        try:
            async with producers.draining.timeout(DEFAULT_LEASE_SECONDS):
                first = await anext(messages, None)
        except TimeoutError:
            first = None
        if first is None:
            raise BadRequest(
                "the first message names generation and lease, and none came", path="generation"
            )
        source = MessageSource(first)

        async def acknowledge(result: PostResult) -> None:
            await context.write(parts_message(describe_post(result)))

        post = StreamedPost(producers, self._clock, self._limits, source.generation, source.lease)
        filling = self._tasks.run("read parts", source.fill(messages))
        try:
            result = await self._tasks.finish(
                "post parts", post.publish(source, acknowledge), lambda result: None
            )
        finally:
            source.close()
            await cancel_and_wait([filling])
        if not result.is_over and producers.draining.is_set:
            raise NodeBusy("this node is draining; try again", code=NODE_DRAINING)
        self._statuses.count(f"{_SERVICE}/PostParts", 200)

    async def claim(self, request: pb.ClaimJobsRequest, context: Context) -> pb.ClaimJobsResponse:
        """Claim jobs, and wait for them."""
        key = self._requests.authenticate(_call("ClaimJobs", context))
        is_connected = True

        def on_abandoned(response: ClaimResponse) -> None:
            if not request.claim_id:
                self._tasks.run("return jobs", self._return(response))

        claiming = self._jobs.claim(key, claim_body(request), lambda: is_connected)
        try:
            response = await self._tasks.finish("claim jobs", claiming, on_abandoned)
        except asyncio.CancelledError:
            is_connected = False
            raise
        return pb.ClaimJobsResponse(jobs=[job_message(job) for job in response.jobs])

    async def release(
        self, request: pb.ReleaseLeaseRequest, context: Context
    ) -> pb.ReleaseLeaseResponse:
        """Return a claimed job."""
        self._requests.authenticate(_call("ReleaseLease", context))
        generation = require_field(request.generation, "generation")
        lease = require_field(request.lease, "lease")
        await asyncio.shield(self._requests.producers.return_lease(generation, lease))
        return pb.ReleaseLeaseResponse()

    async def control(self, request: pb.ControlRequest, context: Context) -> None:
        """Stream what concerns an attempt."""
        call = _call("Control", context)
        self._requests.authenticate(call)
        generation = require_field(request.generation, "generation")
        lease = require_field(request.lease, "lease")
        stream = await self._requests.open_control(generation, lease)
        await context.send_initial_metadata(())  # the client learns that the stream is open
        await self._event_streams.stream(call, context, stream)

    async def _return(self, response: ClaimResponse) -> None:
        for job in response.jobs:
            await self._requests.producers.return_lease(job.generation, job.lease)


def _call(name: str, context: Context) -> GrpcRequestContext:
    return GrpcRequestContext(f"/{_SERVICE}/{name}", context)
