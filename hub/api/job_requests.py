"""Requests of external producers that claim jobs and return them: their checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from hub.api.producer_requests import LeaseSeconds, check_lease_seconds
from hub.api.producer_responses import ClaimResponse, describe_job
from hub.core.event import check_idempotency_key
from hub.engine.external.external_producers import ExternalProducers
from hub.engine.external.job_claims import MAX_JOBS, MAX_WAIT_SECONDS, Claim, Claims
from hub.errors import BadRequest

DEFAULT_WAIT_SECONDS: Final = 20.0
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
    wait_seconds: _WaitSeconds = DEFAULT_WAIT_SECONDS
    lease_seconds: LeaseSeconds | None = None
    claim_id: str | None = None


class JobRequests:
    """Checks the claims of producers, and passes them on."""

    def __init__(self, claims: Claims, producers: ExternalProducers) -> None:
        self._claims = claims
        self._producers = producers

    async def claim(
        self, key: str, body: ClaimBody, is_connected: Callable[[], bool]
    ) -> ClaimResponse:
        """Claim jobs, and wait for them. Jobs without a claim id whose producer has disconnected
        are returned, because nobody can ask for them again.

        key: the name of the API key. Raise CallerError, BrokerUnavailable.
        """
        claim = Claim(
            key=key,
            queue=self._check_queue(body.queue),
            max_jobs=_check_max(body.max),
            wait_seconds=_check_wait(body.wait_seconds),
            lease_seconds=check_lease_seconds(body.lease_seconds),
            id=body.claim_id,
            is_connected=is_connected,
        )
        if body.claim_id is not None:
            check_idempotency_key(body.claim_id, path="claim_id")
        started = await self._claims.claim(claim)
        if claim.id is None and not is_connected():
            for each in started:
                await self._producers.return_lease(each.record.id, each.lease)
        return ClaimResponse([describe_job(each) for each in started])

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
