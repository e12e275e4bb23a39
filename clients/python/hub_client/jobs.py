"""Users' questions to an upstream of the kind queue, which a process of the application answers.

async for job in backend.jobs("support"):
    async with job:
        await job.write(f"You asked: {job.prompt}")
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

from hub_client.errors import (
    GenerationStopped,
    HubClientError,
    HubUnavailable,
    HubUnreachable,
    LeaseLost,
    TooManyRequests,
)
from hub_client.http import HttpClient
from hub_client.job_requests import (
    JobFacts,
    JobRequest,
    claim_request,
    release_request,
    return_policy,
)
from hub_client.producer import ProducedAnswer
from hub_client.producing import Part, ProduceOptions

_log = logging.getLogger(__name__)


class Job(JobFacts, ProducedAnswer):
    """A user's question, and its answer: `async with job: await job.write("…")`.

    request: the user, the messages and the rest. The lease is renewed from the claim on. A job
    that is cancelled returns to the queue, and the attempt does not count.
    """

    def __init__(self, http: HttpClient, request: JobRequest) -> None:
        super().__init__(http, ProduceOptions(id=request.generation))
        self.request = request
        self._begin(request)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            await self.release()
        else:
            await super().__aexit__(kind, error, trace)

    async def release(self) -> None:
        """Return the job to the queue, unless its answer has ended."""
        delivery = self._current
        if self._sender is not None:
            self._sender.cancel()
        if not delivery.is_over:
            delivery.close()
            with suppress(HubClientError):  # then its lease ends by itself
                await self._http.send(release_request(delivery.attempt))


async def claim_jobs(
    http: HttpClient, queue: str, lease_seconds: float | None
) -> AsyncIterator[Job]:
    """Yield the jobs of a queue, one after another, without an end.

    A job that is not ended when the next one is requested returns to the queue.
    """
    claim_id, failures = uuid.uuid4().hex, 0
    while True:
        try:
            claimed = await http.send(claim_request(queue, claim_id, lease_seconds))
        except asyncio.CancelledError:
            await _return_claimed(http, queue, claim_id, lease_seconds)
            raise
        except (HubUnreachable, HubUnavailable, TooManyRequests):
            failures += 1
            await http.sleep(http.retry_policy.delay_seconds(failures))
            continue
        claim_id, failures = uuid.uuid4().hex, 0
        for request in claimed.jobs:
            job = Job(http, request)
            try:
                yield job
            finally:
                await job.release()


class Worker:
    """Answers the questions of a queue with a function: `await worker.run()`.

    The function gets the job. It is a coroutine function that writes, or returns a part; or an
    async generator function that yields parts.
    """

    def __init__(
        self,
        jobs: Callable[[], AsyncIterator[Job]],
        function: Callable[[Job], Any],
        *,
        max_running: int,
    ) -> None:
        self._jobs = jobs
        self._max_running = max_running
        self.function = function

    async def run(self) -> None:
        """Answer questions until cancelled; running jobs then return to the queue."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._max_running):
                tasks.create_task(self._run_one_by_one())

    async def _run_one_by_one(self) -> None:
        async for job in self._jobs():
            try:
                async with job:
                    await self._answer(job)
            except (GenerationStopped, LeaseLost):
                _log.info("the answer %s was stopped or lost", job.generation)
            except Exception:  # noqa: BLE001 - one question must not stop the others
                _log.exception("the answer %s failed", job.generation)

    async def _answer(self, job: Job) -> None:
        result: Any = self.function(job)
        if inspect.isasyncgen(result):
            async for part in cast(AsyncIterator[Part], result):
                await job.write(part)
            return
        returned: Part | None = await result
        if returned is not None:
            await job.write(returned)


async def _return_claimed(
    http: HttpClient, queue: str, claim_id: str, lease_seconds: float | None
) -> None:
    """Return the jobs that a cancelled claim may have got."""
    once = http.with_policy(return_policy(http.retry_policy))
    request = claim_request(queue, claim_id, lease_seconds, wait_seconds=0.0)
    with suppress(HubClientError):  # then their leases end by themselves
        for job in (await once.send(request)).jobs:
            await once.send(release_request(job))
