"""Users' questions to an upstream of the kind queue, for programs without an event loop.

for job in backend.jobs("support"):
    with job:
        job.write(f"You asked: {job.prompt}")
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from hub_client.errors import HubClientError, HubUnavailable, HubUnreachable, TooManyRequests
from hub_client.job_requests import (
    JobFacts,
    JobRequest,
    claim_request,
    release_request,
    return_policy,
)
from hub_client.producing import ProduceOptions
from hub_client.sync_http import SyncHttpClient, run_blocking
from hub_client.sync_producer import SyncProducedAnswer


class SyncJob(JobFacts, SyncProducedAnswer):
    """A user's question, and its answer: `with job: job.write("…")`.

    request: the user, the messages and the rest. The lease is renewed from the claim on. A job
    whose process ends returns to the queue, and the attempt does not count.
    """

    def __init__(self, http: SyncHttpClient, request: JobRequest) -> None:
        super().__init__(http, ProduceOptions(id=request.generation))
        self.request = request
        self._begin(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            self.release()
        else:
            super().__exit__(kind, error, trace)

    def release(self) -> None:
        """Return the job to the queue, unless its answer has ended."""
        delivery = self._current
        with self._changed:
            was_over = delivery.is_over
            delivery.close()
            self._changed.notify_all()
        if not was_over:
            with suppress(HubClientError):  # then its lease ends by itself
                run_blocking(self._http.send(release_request(delivery.attempt)))


def claim_jobs(http: SyncHttpClient, queue: str, lease_seconds: float | None) -> Iterator[SyncJob]:
    """Yield the jobs of a queue, one after another, without an end.

    A job that is not ended when the next one is requested returns to the queue.
    """
    claim_id, failures = uuid.uuid4().hex, 0
    while True:
        try:
            claimed = run_blocking(http.send(claim_request(queue, claim_id, lease_seconds)))
        except (KeyboardInterrupt, SystemExit):
            _return_claimed(http, queue, claim_id, lease_seconds)
            raise
        except (HubUnreachable, HubUnavailable, TooManyRequests):
            failures += 1
            time.sleep(http.retry_policy.delay_seconds(failures))
            continue
        claim_id, failures = uuid.uuid4().hex, 0
        for request in claimed.jobs:
            job = SyncJob(http, request)
            try:
                yield job
            finally:
                job.release()


def _return_claimed(
    http: SyncHttpClient, queue: str, claim_id: str, lease_seconds: float | None
) -> None:
    """Return the jobs that an interrupted claim may have got."""
    once = http.with_policy(return_policy(http.retry_policy))
    request = claim_request(queue, claim_id, lease_seconds, wait_seconds=0.0)
    with suppress(HubClientError):  # then their leases end by themselves
        for job in run_blocking(once.send(request)).jobs:
            run_blocking(once.send(release_request(job)))
