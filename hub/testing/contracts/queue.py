"""What every queue of generation jobs must do."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from hub.core.fair_queue import Admission, Job, QueueLimits, UpstreamLimits
from hub.ports.queue import GenerationQueue, JobState, Lease
from hub.testing.contracts.node import BackendOptions, OpenBackend

# Of a lease that is to expire. A quarter of it has to be more than 0.1 s: an idle server looks at
# the end of a blocking read that often, and a worker claims nothing after a read that took longer.
LEASE_SECONDS = 0.8
RENEWED_LEASE_SECONDS = 1.5  # of a lease that is to be renewed in time, on a busy machine too
LIMITS = QueueLimits(
    max_user_running=3,
    max_user_queued=4,
    upstreams={
        "small": UpstreamLimits(max_running=1, max_queued=3),
        "open": UpstreamLimits(max_running=None, max_queued=None),
    },
)
expiring_lease = pytest.mark.parametrize("lease_seconds", [LEASE_SECONDS])
renewed_lease = pytest.mark.parametrize("lease_seconds", [RENEWED_LEASE_SECONDS])


def job(generation: str, user: str = "alice", upstream: str = "open") -> Job:
    """Return a job of the default queue."""
    return Job(generation, user, upstream)


class Workers:
    """The queue as two workers see it."""

    def __init__(self, first: GenerationQueue, second: GenerationQueue) -> None:
        self.first = first
        self.second = second

    async def take(self, queue: GenerationQueue) -> Lease:
        """Reserve the next job. `reserve` is repeated, because a double may not block."""
        async with asyncio.timeout(60):
            while (lease := await queue.reserve(0.02)) is None:
                await asyncio.sleep(0)
            return lease


class QueueContract:
    """The suite for ports.queue."""

    @pytest.fixture
    def lease_seconds(self) -> float:
        """No lease expires during a test."""
        return 60.0

    @pytest.fixture
    async def workers(self, open_backend: OpenBackend, lease_seconds: float) -> Workers:
        """Two workers on one queue."""
        options = BackendOptions(queue_limits=LIMITS, lease_seconds=lease_seconds)
        return Workers((await open_backend(options)).queue, (await open_backend(options)).queue)

    async def test_jobs_come_in_order(self, workers: Workers) -> None:
        """Jobs come in the order in which they were added, each to one worker."""
        for name in ("a", "b", "c"):
            await workers.first.enqueue(job(name))
        queues = (workers.first, workers.second, workers.first)
        assert [(await workers.take(queue)).generation for queue in queues] == ["a", "b", "c"]

    @expiring_lease
    async def test_lease_names_the_user_and_the_upstream(self, workers: Workers) -> None:
        """Every worker that gets the job learns them, also after a lost lease or a release."""
        await workers.first.enqueue(job("a", "auth0|ünï", "small"))
        leases = [await workers.take(workers.first), await workers.take(workers.second)]
        await workers.second.release(leases[-1])
        leases.append(await workers.take(workers.first))
        assert [(each.user, each.upstream) for each in leases] == [("auth0|ünï", "small")] * 3

    async def test_empty_queue(self, workers: Workers) -> None:
        """`reserve` returns None when no job comes in time."""
        assert await workers.first.reserve(0.01) is None

    async def test_job_that_is_added_while_a_worker_waits(self, workers: Workers) -> None:
        """The waiting worker gets the job."""
        waiting = asyncio.create_task(workers.take(workers.first))
        await asyncio.sleep(0)  # the task begins to wait
        await workers.second.enqueue(job("a"))
        assert (await waiting).generation == "a"

    async def test_worker_that_stops_waiting(self, workers: Workers) -> None:
        """A job that is added after a worker has stopped waiting goes to another one at once."""
        waiting = asyncio.create_task(workers.first.reserve(5.0))
        for _ in range(20):
            await workers.first.backlog()  # meanwhile, a server gets the command of the first one
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await workers.second.enqueue(job("a"))
        assert (await workers.take(workers.second)).generation == "a"

    @expiring_lease
    async def test_expired_lease_frees_the_job(self, workers: Workers) -> None:
        """When a lease expires, another worker gets the job."""
        await workers.first.enqueue(job("a"))
        await workers.take(workers.first)
        assert (await workers.take(workers.second)).generation == "a"

    @renewed_lease
    async def test_expired_lease_behind_many_renewed_ones(self, workers: Workers) -> None:
        """The job is found however many renewed leases are older."""
        jobs = [job(f"a{n}", user=f"u{n}") for n in range(40)]
        for each in jobs:
            await workers.first.enqueue(each)
        held = [await workers.take(workers.first) for _ in jobs]
        for _ in range(6):  # twice the length of a lease, by the clock of the server
            await asyncio.sleep(RENEWED_LEASE_SECONDS / 3)
            await workers.first.renew(held[:-1])
        assert (await workers.take(workers.second)).generation == "a39"

    @expiring_lease
    async def test_completed_job_never_returns(self, workers: Workers) -> None:
        """A completed job does not come back when its lease would have expired."""
        await workers.first.enqueue(job("a"))
        await workers.first.complete(await workers.take(workers.first))
        await workers.first.enqueue(job("b"))
        assert (await workers.take(workers.second)).generation == "b"
        await asyncio.sleep(LEASE_SECONDS * 2)  # the clock of a server cannot be controlled
        assert (await workers.take(workers.second)).generation == "b"

    @renewed_lease
    async def test_renewed_lease_is_kept(self, workers: Workers) -> None:
        """A worker that renews its lease keeps the job."""
        await workers.first.enqueue(job("a"))
        lease = await workers.take(workers.first)
        for _ in range(6):  # twice the length of a lease, by the clock of the server
            await asyncio.sleep(RENEWED_LEASE_SECONDS / 3)
            assert not await workers.first.renew([lease])
            assert await workers.second.reserve(0.001) is None

    async def test_released_job_returns_at_once(self, workers: Workers) -> None:
        """Another worker gets a released job without waiting for the lease to expire."""
        await workers.first.enqueue(job("a"))
        await workers.first.release(await workers.take(workers.first))
        lease = await workers.take(workers.second)
        assert lease.generation == "a"
        await workers.second.complete(lease)
        assert await workers.first.reserve(0.001) is None

    async def test_job_of_a_version(self, workers: Workers) -> None:
        """Workers of no version do not get it; it is listed, counted once, and can be withdrawn."""
        for name in ("a", "b"):
            await workers.first.enqueue(job(name))
        await workers.first.release(await workers.take(workers.first), version="v1")
        await workers.first.release(await workers.take(workers.first), version="")
        assert await workers.second.reserve(0.01) is None
        waiting = await workers.second.waiting_versions()
        expected = [("default", "", 1), ("default", "v1", 1)]
        assert [each[:3] for each in waiting] == expected
        assert (await workers.first.list_jobs(9)).total == 2
        assert not any(each and each.is_attended for each in await workers.first.job_states("ab"))
        await workers.first.withdraw(job("a"))
        assert [each[:3] for each in await workers.second.waiting_versions()] == expected[:1]
        await workers.first.enqueue(job("a"))
        assert (await workers.take(workers.second)).generation == "a"

    async def test_stop_reaches_every_worker(self, workers: Workers) -> None:
        """Every worker receives every stop request."""
        received: list[str] = []

        async def listen(queue: GenerationQueue) -> None:
            async with aclosing(queue.notices()) as stops:  # type: ignore[type-var]
                async for generation in stops:
                    received.append(generation)
                    return

        listeners = [
            asyncio.create_task(listen(queue)) for queue in (workers.first, workers.second)
        ]
        async with asyncio.timeout(60):
            # A stop that is sent before the listeners are subscribed is lost, so it is repeated.
            while not all(listener.done() for listener in listeners):
                await workers.first.broadcast_notice("a")
                await asyncio.sleep(0)
        assert received == ["a", "a"]

    @expiring_lease
    async def test_lost_lease_is_reported(self, workers: Workers) -> None:
        """A worker whose lease has expired learns that another worker has the job."""
        await workers.first.enqueue(job("a"))
        lease = await workers.take(workers.first)
        taken = await workers.take(workers.second)
        assert taken.deliveries == 2
        assert await workers.first.renew([lease]) == [lease]
        assert not await workers.second.renew([taken])

    @expiring_lease
    @pytest.mark.parametrize("how", ["complete", "release"])
    async def test_lost_lease_ends_nothing(self, workers: Workers, how: str) -> None:
        """A worker whose lease has expired cannot complete or release the job of another worker."""
        await workers.first.enqueue(job("a"))
        lease = await workers.take(workers.first)
        taken = await workers.take(workers.second)
        await (workers.first.complete(lease) if how == "complete" else workers.first.release(lease))
        assert not await workers.second.renew([taken])
        assert await workers.first.reserve(0.01) is None
        await workers.second.complete(taken)
        await workers.first.enqueue(job("a"))
        assert (await workers.take(workers.first)).deliveries == 1

    async def test_users_take_turns(self, workers: Workers) -> None:
        """A user with many jobs waits, but the first job of another user does not."""
        for n in range(7):
            assert await workers.first.enqueue(job(f"a{n}")) is Admission.ACCEPTED
        assert await workers.first.enqueue(job("a7")) is Admission.USER_FULL
        await workers.first.enqueue(job("b0", "bob"))
        held = [await workers.take(workers.first) for _ in range(4)]
        assert [lease.generation for lease in held] == ["a0", "a1", "a2", "b0"]
        assert await workers.first.reserve(0.01) is None
        for lease in held[:1]:
            await workers.first.complete(lease)
        assert (await workers.take(workers.first)).generation == "a3"

    async def test_waiting_users_take_turns(self, workers: Workers) -> None:
        """Users who wait for the same upstream are taken in turn."""
        await workers.first.enqueue(job("x", "eve", "small"))
        for n in range(3):
            assert await workers.first.enqueue(job(f"a{n}", "alice", "small")) is Admission.ACCEPTED
        assert await workers.first.enqueue(job("b0", "bob", "small")) is Admission.UPSTREAM_FULL
        first = await workers.take(workers.first)
        assert await workers.first.reserve(0.01) is None
        await workers.first.complete(first)
        await workers.first.enqueue(job("b0", "bob", "small"))
        taken = []
        for _ in range(4):
            lease = await workers.take(workers.first)
            taken.append(lease.generation)
            await workers.first.complete(lease)
        assert taken == ["a0", "a1", "b0", "a2"]

    async def test_full_upstream_blocks_no_other(self, workers: Workers) -> None:
        """A job whose upstream is full is passed over."""
        for name in ("s0", "s1"):
            await workers.first.enqueue(job(name, upstream="small"))
        await workers.first.enqueue(job("o0"))
        assert [(await workers.take(workers.first)).generation for _ in range(2)] == ["s0", "o0"]

    async def test_withdrawn_job_makes_room(self, workers: Workers) -> None:
        """A withdrawn job does not count any more."""
        jobs = [job(f"a{n}") for n in range(7)]
        for each in jobs:
            await workers.first.enqueue(each)
        await workers.first.withdraw(jobs[4])
        await workers.first.withdraw(jobs[4])
        assert await workers.first.enqueue(job("new")) is Admission.ACCEPTED
        assert await workers.first.enqueue(job("more")) is Admission.USER_FULL
        taken = []
        for _ in range(7):
            lease = await workers.take(workers.first)
            taken.append(lease.generation)
            await workers.first.complete(lease)
        assert taken == ["a0", "a1", "a2", "a3", "a5", "a6", "new"]

    @expiring_lease
    async def test_withdrawn_due_job(self, workers: Workers) -> None:
        """A due job is withdrawn unless a worker holds it, and its capacity is free again."""
        held, due, waiting = (job(name, upstream="small") for name in ("h", "d", "w"))
        await workers.first.enqueue(held)
        lease = await workers.take(workers.first)
        await workers.first.renew([lease])
        await workers.second.withdraw(held)
        assert await workers.first.renew([lease]) == []
        await workers.first.complete(lease)
        await workers.first.enqueue(due)
        await workers.first.enqueue(waiting)
        await workers.second.withdraw(due)
        taken = await workers.take(workers.first)
        assert taken.generation == "w"
        await self._expire(workers, "w")
        await workers.second.withdraw(waiting)
        assert await workers.second.job_states(["h", "d", "w"]) == [None, None, None]
        assert await workers.second.reserve(0.01) is None
        await workers.first.complete(taken)
        await workers.first.enqueue(held)
        assert (await workers.take(workers.first)).generation == "h"

    @expiring_lease
    async def test_states_of_jobs(self, workers: Workers) -> None:
        """A job is attended while a worker holds its lease; the checks without one are counted."""
        queue = workers.first
        for name in ("due", "waits"):
            await queue.enqueue(job(name, upstream="small"))
        assert await queue.job_states([]) == []
        for checks in (1, 2):
            unattended = JobState(is_attended=False, unattended_checks=checks)
            states = await queue.job_states(["due", "waits", "none"])
            assert states == [unattended, unattended, None]
        lease = await workers.take(queue)
        await queue.renew([lease])
        assert await workers.second.job_states(["due"]) == [JobState(is_attended=True)]
        await self._expire(workers, "due")
        assert await queue.job_states(["due"]) == [JobState(is_attended=False, unattended_checks=2)]
        await workers.second.release(await workers.take(workers.second))
        assert await queue.job_states(["due"]) == [JobState(is_attended=False, unattended_checks=3)]
        await queue.complete(await workers.take(queue))
        due, waits = await queue.job_states(["due", "waits"])
        assert due is None
        assert waits == JobState(is_attended=False, unattended_checks=3)

    async def _expire(self, workers: Workers, generation: str) -> None:
        """Return when the lease of a job has expired; the last check is the first without it."""
        async with asyncio.timeout(60):
            while True:
                (state,) = await workers.first.job_states([generation])
                assert state is not None
                if not state.is_attended:
                    return
                await asyncio.sleep(0.01)  # no queue announces that a lease has expired

    async def test_requeued_job_ignores_the_limits(self, workers: Workers) -> None:
        """A job that was accepted before is added to a full queue, and only once."""
        for n in range(7):
            await workers.first.enqueue(job(f"a{n}"))
        assert await workers.first.enqueue(job("more")) is Admission.USER_FULL
        for name in ("more", "more", "a0", "a6"):
            await workers.first.requeue(job(name))
        taken = []
        for _ in range(8):
            lease = await workers.take(workers.first)
            taken.append(lease.generation)
            await workers.first.complete(lease)
        assert taken == [*(f"a{n}" for n in range(7)), "more"]
        assert await workers.first.reserve(0.01) is None

    async def test_same_job_twice(self, workers: Workers) -> None:
        """A job is not added again while it waits or runs."""
        await workers.first.enqueue(job("a"))
        await workers.first.enqueue(job("a"))
        lease = await workers.take(workers.first)
        await workers.first.enqueue(job("a"))
        assert await workers.first.reserve(0.01) is None
        await workers.first.complete(lease)
        await workers.first.enqueue(job("a"))
        assert (await workers.take(workers.first)).generation == "a"

    async def test_backlog(self, workers: Workers) -> None:
        """It counts the jobs that no worker has reserved, and names those that workers get next."""
        assert await workers.second.backlog() == (0, [])
        for n in range(3):
            await workers.first.enqueue(job(f"g{n}"))
        assert await workers.second.backlog() == (3, ["g0"])
        leases = [await workers.take(workers.first), await workers.take(workers.first)]
        assert await workers.second.backlog() == (1, ["g2"])
        await workers.first.complete(leases[1])
        assert await workers.second.backlog() == (1, ["g2"])
        await workers.take(workers.first)
        assert await workers.second.backlog() == (0, [])

    async def test_list_jobs(self, workers: Workers) -> None:
        """Running jobs come before waiting ones, and completed jobs are not listed."""
        for n in range(5):
            await workers.first.enqueue(job(f"g{n}"))
        lease = await workers.take(workers.first)
        page = await workers.second.list_jobs(10)
        assert (sorted(page.generations), page.total) == ([f"g{n}" for n in range(5)], 5)
        few = await workers.second.list_jobs(2)
        assert (len(few.generations), few.total) == (2, 5)
        await workers.first.complete(lease)
        assert lease.generation not in (await workers.second.list_jobs(10)).generations
