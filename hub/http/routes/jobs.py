"""The routes on which external producers claim jobs and return them."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from hub.api.job_requests import ClaimBody, JobRequests
from hub.api.producer_requests import PRODUCE, ProducerRequests, lease_of
from hub.api.producer_responses import ClaimResponse
from hub.http.json_body import json_response, read_json
from hub.http.parameters import GENERATION, LEASE
from hub.http.routing import Operation, ResponseSpec, build_routes, json, json_body, key

_MAX_BODY_BYTES: Final = 4096


class JobRoutes:
    """The routes of the internal listener that need the scope `produce`."""

    def __init__(self, requests: ProducerRequests, jobs: JobRequests) -> None:
        self._requests = requests
        self._jobs = jobs

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
        response = await self._jobs.claim(name, body, lambda: request.transport is not None)
        return json_response(response)

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
        """Returns a claimed job: it goes to the next claim, and the attempt does not count against
        `retries`.
        """
        self._requests.authenticate(request)
        lease = lease_of(request)
        await self._requests.producers.return_lease(request.match_info["id"], lease)
        return web.Response(status=204)
