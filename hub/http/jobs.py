"""The routes on which external producers claim jobs and return them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from hub.api.producer_requests import (
    PRODUCE,
    LeaseSeconds,
    ProducerRequests,
    check_lease_seconds,
    lease_of,
)
from hub.core.event import check_idempotency_key
from hub.core.messages import last_prompt
from hub.engine.external_producers import StartedAttempt
from hub.engine.job_claims import MAX_JOBS, MAX_WAIT_SECONDS, Claim, Claims
from hub.errors import BadRequest
from hub.http.json_body import json_response, read_json
from hub.http.parameters import GENERATION, LEASE
from hub.http.producers import describe_state
from hub.http.routing import Operation, ResponseSpec, build_routes, json, json_body, key

_DEFAULT_WAIT_SECONDS: Final = 20.0
_MAX_BODY_BYTES: Final = 4096
_Max = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": MAX_JOBS})]
_WaitSeconds = Annotated[
    float, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": MAX_WAIT_SECONDS})
]


class ClaimBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /jobs/claim. `queue` is that of an upstream of the kind `queue`. `max` is
    the number of jobs. Without a job, the response comes after `wait_seconds`. The same `claim_id`
    gets the same jobs while their leases hold.
    """

    queue: str
    max: _Max = 1
    wait_seconds: _WaitSeconds = _DEFAULT_WAIT_SECONDS
    lease_seconds: LeaseSeconds | None = None
    claim_id: str | None = None


class JobResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A user's question, and the lease of the attempt at its answer. `prompt` is the text of the
    user's last message. `previous` are the folded parts up to the newest checkpoint, and
    `checkpoint` is its value. `topic` is that in whose channel the answer appears, if it has one.
    """

    generation: str
    attempt: int
    lease: str
    lease_seconds: float
    user: str
    chat: str | None
    prompt: str
    messages: list[dict[str, Any]]
    model: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    previous: list[dict[str, Any]] | None
    checkpoint: Any
    inputs: list[dict[str, Any]]
    topic: str | msgspec.UnsetType = msgspec.UNSET


class ClaimResponse(msgspec.Struct, frozen=True):
    """The jobs; none if there was none in time."""

    jobs: list[JobResponse]


class JobRoutes:
    """The routes of the internal listener that need the scope `produce`."""

    def __init__(self, requests: ProducerRequests, claims: Claims) -> None:
        self._requests = requests
        self._claims = claims

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="claimJobs",
        method="POST",
        paths=["/jobs/claim"],
        tag="producers",
        summary="Claim users' questions",
        security=key(PRODUCE),
        body=json_body(ClaimBody),
        responses=[json(200, ClaimResponse, "The jobs, whose leases have begun.")],
        refuses=[429],
        long_lived=True,
    )
    async def claim(self, request: web.Request) -> web.Response:
        """Claims questions to an upstream of the kind `queue`, and waits for them. Post the parts
        of each answer with its lease. A job whose lease ends goes to the next claim if `retries` of
        the upstream allow it.
        """
        name = self._requests.authenticate(request)
        body = await read_json(request, ClaimBody, max_bytes=_MAX_BODY_BYTES)
        claim = Claim(
            key=name,
            queue=self._check_queue(body.queue),
            max_jobs=_check_max(body.max),
            wait_seconds=_check_wait(body.wait_seconds),
            lease_seconds=check_lease_seconds(body.lease_seconds),
            id=body.claim_id,
            is_connected=lambda: request.transport is not None,
        )
        if body.claim_id is not None:
            check_idempotency_key(body.claim_id, path="claim_id")
        started = await self._claims.claim(claim)
        if claim.id is None and not claim.is_connected():
            for each in started:
                await self._requests.producers.return_lease(each.record.id, each.lease)
        return json_response(ClaimResponse([_describe(each) for each in started]))

    @Operation(
        id="returnJob",
        method="DELETE",
        paths=["/generations/{id}/lease"],
        tag="producers",
        summary="Return a job",
        security=key(PRODUCE),
        parameters=[GENERATION, LEASE],
        responses=[ResponseSpec(status=204, description="Another producer can claim the job.")],
        refuses=[404, 409],
    )
    async def return_job(self, request: web.Request) -> web.Response:
        """Returns a claimed job: it goes to the next claim, and the attempt does not count."""
        self._requests.authenticate(request)
        lease = lease_of(request)
        await self._requests.producers.return_lease(request.match_info["id"], lease)
        return web.Response(status=204)

    def _check_queue(self, queue: str) -> str:
        queues = self._claims.queues
        if queue not in queues:
            known = ", ".join(queues) or "none; add an upstream of the kind queue to the settings"
            raise BadRequest(f"there is no queue {queue!r}; there are: {known}", path="queue")
        return queue


def _check_max(count: int) -> int:
    if not 1 <= count <= MAX_JOBS:
        raise BadRequest(f"max is between 1 and {MAX_JOBS}", path="max")
    return count


def _check_wait(seconds: float) -> float:
    if not 0 <= seconds <= MAX_WAIT_SECONDS:  # false for NaN
        raise BadRequest(f"wait_seconds is between 0 and {MAX_WAIT_SECONDS:g}", path="wait_seconds")
    return seconds


def _describe(started: StartedAttempt) -> JobResponse:
    record = started.record
    previous, checkpoint = describe_state(started.state)
    messages = msgspec.to_builtins(record.request.messages)
    return JobResponse(
        generation=record.id,
        attempt=started.attempt,
        lease=started.lease,
        lease_seconds=started.lease_seconds,
        user=record.user,
        chat=record.request.chat,
        prompt=last_prompt(messages),
        messages=messages,
        model=record.request.model,
        params=record.request.params,
        metadata=record.request.metadata,
        previous=previous,
        checkpoint=checkpoint,
        inputs=[],
        topic=record.request.topic or msgspec.UNSET,
    )
