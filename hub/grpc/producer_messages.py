"""What external producers send and are told, between protobuf and hub.api."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from hub.api.job_requests import DEFAULT_WAIT_SECONDS, ClaimBody
from hub.api.producer_responses import AttemptResponse, JobResponse, PartsResponse
from hub.core.inputs import ReceivedInput
from hub.core.steering import SteeringMessage
from hub.grpc import hub_pb2 as pb


def claim_body(request: pb.ClaimJobsRequest) -> ClaimBody:
    """Convert a request to the body of POST /jobs/claim."""
    return ClaimBody(
        queue=request.queue,
        max=request.max if request.HasField("max") else 1,
        wait_seconds=(
            request.wait_seconds if request.HasField("wait_seconds") else DEFAULT_WAIT_SECONDS
        ),
        lease_seconds=request.lease_seconds if request.HasField("lease_seconds") else None,
        claim_id=request.claim_id or None,
    )


def attempt_message(response: AttemptResponse) -> pb.StartExternalResponse:
    """Convert what the producer of a new attempt is told."""
    return pb.StartExternalResponse(
        generation=response.generation,
        attempt=response.attempt,
        lease=response.lease,
        lease_seconds=response.lease_seconds,
        cursor=response.cursor,
        previous=_json(response.previous),
        checkpoint=_json(response.checkpoint),
        inputs=_inputs(response.inputs or ()),
        steering=_steering(response.steering or ()),
        steering_taken=response.steering_taken or 0,
    )


def parts_message(response: PartsResponse) -> pb.PostPartsResponse:
    """Convert what a producer is told after a publish."""
    return pb.PostPartsResponse(
        ack=response.ack,
        stop=None if response.stop is None else pb.Stop(by=response.stop.by or ""),
        inputs=_inputs(response.inputs),
        steering=_steering(response.steering),
        lease_seconds=response.lease_seconds,
    )


def job_message(job: JobResponse) -> pb.Job:
    """Convert a claimed job."""
    return pb.Job(
        generation=job.generation,
        attempt=job.attempt,
        lease=job.lease,
        lease_seconds=job.lease_seconds,
        user=job.user,
        chat=job.chat or "",
        topic=job.topic or "",
        prompt=job.prompt,
        messages=_json(job.messages),
        model=job.model,
        params=_json(job.params),
        metadata=_json(job.metadata),
        previous=_json(job.previous),
        checkpoint=_json(job.checkpoint),
        inputs=_inputs(job.inputs),
        steering=_steering(job.steering),
        steering_taken=job.steering_taken,
    )


def _inputs(inputs: Iterable[ReceivedInput]) -> list[pb.Input]:
    return [
        pb.Input(
            n=each.n,
            input=each.input,
            value="" if each.expired else _to_json(each.value),
            by=each.by or "",
            expired=each.expired,
        )
        for each in inputs
    ]


def _steering(messages: Iterable[SteeringMessage]) -> list[pb.Steering]:
    return [pb.Steering(n=each.n, message=_json(each.message), by=each.by) for each in messages]


def _json(value: Any) -> str:
    """Return JSON text, empty for an absent value."""
    return "" if value is None or value is msgspec.UNSET else _to_json(value)


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
