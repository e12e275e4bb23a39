"""Claims of jobs over Valkey: no job is lost, and none has two producers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from hub.core.channel import channel_for
from hub.core.fair_queue import QueueLimits, UpstreamLimits
from hub.core.generation import GenerationRequest, Message, Status
from hub.core.parts import Text
from hub.core.posted_parts import Posted, PostedEnd, PostedPart
from hub.engine.external.external_producers import StartedAttempt
from hub.engine.external.job_claims import Claim, ClaimLimits, Claims
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.errors import CallerError, TooManyRequests
from hub.ports.events import FROM_START
from tests.conftest import OpenedRedis, OpenRedis
from tests.engine.external_kit import Node, texts
from tests.engine.test_external_producers import DONE, change_lease, check
from tests.redis_backend import redis_backend

REQUEST = GenerationRequest([Message("user", "hi")], upstream="support", model="support")
LIMITS = QueueLimits(
    max_user_running=1000,
    max_user_queued=1000,
    upstreams={"support": UpstreamLimits(max_running=40, max_queued=1000)},
)


class ClaimNode(Node):
    """A node from which jobs can be claimed."""

    def __init__(
        self, opened: OpenedRedis, *, retries: int = 0, unattended_seconds: float = 60.0
    ) -> None:
        backend = redis_backend(
            opened.hub_client,
            queue_limits=LIMITS,
            lease_seconds=unattended_seconds,
            queues=["support"],
        )
        super().__init__(backend)
        self.jobs = GenerationJobs(
            backend.events,
            backend.generations,
            backend.queue,
            {"support": "support"},
            claims=backend.claims,
            retries={"support": retries},
            on_result=self._on_result,
        )
        for part in (self.producers, self.generations, self.reconciler):
            part._jobs = self.jobs
        self.claims = Claims(
            backend.claims,
            backend.generations,
            self.jobs,
            self.producers,
            self.producers._clock,
            upstreams={"support": "support"},
            retries={"support": retries},
            limits=ClaimLimits(max_waiting=3, max_waiting_per_key=2, check_seconds=1),
        )

    async def ask(self, count: int = 1) -> list[str]:
        generations = [await self.generations.start("alice", REQUEST) for _ in range(count)]
        return [each.generation for each in generations]

    async def claim(self, id: str | None = None, **changes: Any) -> list[StartedAttempt]:  # noqa: A002
        claim = Claim(key="k", queue="support", max_jobs=1, wait_seconds=0, lease_seconds=30, id=id)
        return [*await self.claims.claim(msgspec.structs.replace(claim, **changes))]

    async def finish(self, started: StartedAttempt) -> None:
        end: list[Posted] = [PostedPart(0, Text("a")), PostedEnd(1, Status.DONE, DONE)]
        await self.producers.post(started.record.id, started.lease, end)


@pytest.fixture
async def opened(open_redis: OpenRedis) -> OpenedRedis:
    return await open_redis("valkey")


async def test_job_from_question_to_end(opened: OpenedRedis) -> None:
    """A claimed job is listed until its answer has ended, and leaves nothing behind."""
    node = ClaimNode(opened)
    (generation,) = await node.ask()
    (job,) = await node.claim()
    assert (job.record.id, job.attempt) == (generation, 1)
    assert job.record.request.messages == REQUEST.messages
    assert await node.claim() == []
    assert (await node.backend.queue.list_jobs(10)).generations == [generation]
    await node.finish(job)
    assert (await node.backend.queue.list_jobs(10)).total == 0
    assert (await node.record(generation)).status is Status.DONE
    assert await opened.client.hgetall("{hub:p00}:jobs:counts") == {
        b"c": b"1000", b"C support": b"40", b"turn": b"1",
    }  # fmt: skip


async def test_racing_claims_give_each_job_once(opened: OpenedRedis) -> None:
    """Many claims at the same time, some with ids that are repeated, never give a job twice."""
    nodes = [ClaimNode(opened) for _ in range(3)]
    generations = await nodes[0].ask(30)
    claims = [
        nodes[n % 3].claim(f"claim {n // 2}" if n % 4 < 2 else None, max_jobs=1 + n % 3, key=f"{n}")
        for n in range(24)
    ]
    repeated = [nodes[n % 3].claim(f"same {n // 3}") for n in range(12)]
    for node in nodes:
        node.claims._limits = ClaimLimits(max_waiting=99, max_waiting_per_key=99, check_seconds=1)
    given = await asyncio.gather(*claims, *repeated)
    leases: dict[str, set[str]] = {}
    for job in (job for jobs in given for job in jobs):
        leases.setdefault(job.record.id, set()).add(job.lease)
    assert all(len(each) == 1 for each in leases.values())
    while jobs := await nodes[0].claim(max_jobs=10):
        for job in jobs:
            assert job.record.id not in leases
            leases[job.record.id] = {job.lease}
    assert sorted(leases) == sorted(generations)
    for generation in generations:
        assert (await nodes[0].record(generation)).attempt == 1


async def test_same_claim_again(opened: OpenedRedis) -> None:
    """The same claim gets the same jobs while their leases hold, and then new ones."""
    nodes = [ClaimNode(opened), ClaimNode(opened)]
    await nodes[0].ask(4)
    first = await nodes[0].claim("c1", max_jobs=2)
    again = await nodes[1].claim("c1", max_jobs=2)
    assert [(job.record.id, job.lease, job.attempt) for job in first] == [
        (job.record.id, job.lease, job.attempt) for job in again
    ]
    await nodes[0].finish(first[0])
    (left,) = await nodes[0].claim("c1", max_jobs=2)
    assert left.lease == first[1].lease
    await nodes[1].finish(left)
    new = await nodes[1].claim("c1", max_jobs=2)
    assert len(new) == 2
    assert not {job.record.id for job in new} & {job.record.id for job in first}


@pytest.mark.parametrize("is_returned", [False, True])
async def test_same_claim_after_its_lease(opened: OpenedRedis, is_returned: bool) -> None:
    """The same claim gets a job whose lease has ended only with a new lease: the producer that had
    the old one may still post, and nothing of it may appear in the new attempt.
    """
    node = ClaimNode(opened, retries=1)
    (generation,) = await node.ask()
    (first,) = await node.claim("c1")
    if is_returned:
        await node.producers.return_lease(generation, first.lease)
    else:
        await change_lease(opened, generation, ahead_seconds=-31)
        await check(node)
    (second,) = await node.claim("c1")
    assert second.record.id == generation
    assert second.lease != first.lease
    with pytest.raises(CallerError, match="void"):
        await node.producers.post(generation, first.lease, texts(0, "late"))
    await node.finish(second)
    assert (await node.record(generation)).text == "a"


async def test_same_claim_on_two_nodes_at_once(opened: OpenedRedis) -> None:
    """A claim that is repeated while its first call begins the attempt gets that attempt: it does
    not begin another one, which would void what its producer has posted meanwhile.
    """
    first, second = ClaimNode(opened), ClaimNode(opened)
    (generation,) = await first.ask()
    begin = second.producers.begin

    async def begin_late(*arguments: Any, **named: Any) -> StartedAttempt:
        (job,) = await first.claim("c1")
        await first.producers.post(generation, job.lease, texts(0, "a"))
        return await begin(*arguments, **named)

    second.producers.begin = begin_late  # type: ignore[method-assign]
    (job,) = await second.claim("c1")
    assert job.attempt == 1
    result = await second.producers.post(generation, job.lease, texts(1, "b"))
    assert result.ack == 1
    assert (await first.record(generation)).text == "ab"


@pytest.mark.parametrize("retries", [0, 1])
async def test_lost_lease(opened: OpenedRedis, retries: int) -> None:
    """A job whose producer was lost goes to the next claim while `retries` allow it."""
    node = ClaimNode(opened, retries=retries)
    (generation,) = await node.ask()
    (first,) = await node.claim()
    await node.producers.post(generation, first.lease, texts(0, "old"))
    await change_lease(opened, generation, ahead_seconds=-31)
    await check(node)
    with pytest.raises(CallerError, match="void"):
        await node.producers.post(generation, first.lease, texts(1, "late"))
    if retries:
        (second,) = await node.claim()
        assert second.attempt == 2
        assert (await node.record(generation)).text == ""
        await change_lease(opened, generation, ahead_seconds=-31)
        await check(node)
    assert await node.claim() == []
    assert (await node.record(generation)).end["code"] == "producer_lost"
    assert (await node.backend.queue.list_jobs(10)).total == 0
    names = [name for name, _ in await node.events()]
    assert names.count("generation.failed") == 1


async def test_returned_job(opened: OpenedRedis) -> None:
    """A returned job goes to the next claim, and its lease is void. Readers learn that what they
    have is void, with the number of a new attempt; it does not count against `retries`.
    """
    nodes = [ClaimNode(opened), ClaimNode(opened)]
    (generation,) = await nodes[0].ask()
    (first,) = await nodes[0].claim()
    await nodes[0].producers.post(generation, first.lease, texts(0, "old"))
    await nodes[0].producers.return_lease(generation, first.lease)
    for call in (
        nodes[1].producers.post(generation, first.lease, texts(0, "late")),
        nodes[1].producers.return_lease(generation, first.lease),
    ):
        with pytest.raises(CallerError, match="void"):
            await call
    (second,) = await nodes[1].claim()
    assert (second.record.id, second.attempt, second.record.losses) == (generation, 2, 0)
    await nodes[1].finish(second)
    record = await nodes[0].record(generation)
    assert (record.status, record.text) == (Status.DONE, "a")
    events = await nodes[0].events()
    attempts = [(name, data["attempt"]) for name, data in events if "attempt" in data]
    assert attempts == [("generation.started", 1), ("generation.restarted", 2)]


async def test_stop_of_a_returned_job(opened: OpenedRedis) -> None:
    """A stop ends a job at once that waits for its next producer, and one that runs."""
    node = ClaimNode(opened)
    for returned in (True, False):
        (generation,) = await node.ask()
        (job,) = await node.claim()
        if returned:
            await node.producers.return_lease(generation, job.lease)
        await node.generations.stop(generation, "alice")
        assert (await node.record(generation)).status is Status.STOPPED
        assert await node.claim() == []
        assert (await node.backend.queue.list_jobs(10)).total == 0


async def test_crash_before_the_attempt(opened: OpenedRedis) -> None:
    """A job whose node died before its attempt began can be claimed again, and one that runs is
    left alone.
    """
    node = ClaimNode(opened, unattended_seconds=0.001)
    lost, running = await node.ask(2)
    (taken,) = await node.backend.claims.take("support", 1)
    assert taken.generation == lost
    (job,) = await node.claim()
    assert job.record.id == running
    await asyncio.sleep(0.01)  # longer than a job may be unattended
    await node.claims.check()
    (again,) = await node.claim(max_jobs=2)
    assert (again.record.id, again.attempt) == (lost, 1)


async def test_crash_after_the_end(opened: OpenedRedis) -> None:
    """The job of an answer that has ended is removed, also if its node died at the end."""
    node = ClaimNode(opened, unattended_seconds=0.001)
    (generation,) = await node.ask()
    (job,) = await node.claim()

    async def die(result: object) -> None:
        raise ConnectionError

    finish, node.jobs.finish = node.jobs.finish, die  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await node.finish(job)
    node.jobs.finish = finish  # type: ignore[method-assign]
    assert (await node.backend.queue.list_jobs(10)).generations == [generation]
    await asyncio.sleep(0.01)  # longer than a job may be unattended
    await node.claims.check()
    assert (await node.backend.queue.list_jobs(10)).total == 0


@pytest.mark.parametrize("topic", [None, "room:1"])
@pytest.mark.parametrize("when", ["before", "after", "claimed"])
async def test_lost_record(opened: OpenedRedis, when: str, topic: str | None) -> None:
    """Readers get one end, the job is gone, and others can be claimed; however often it is seen."""
    nodes = [ClaimNode(opened, unattended_seconds=0.0) for _ in range(2)]
    request = msgspec.structs.replace(REQUEST, topic=topic)
    started = await nodes[0].generations.start("alice", request)
    claimed = [] if when == "before" else await nodes[0].claim("c")
    if when != "before":
        assert [each.record.id for each in claimed] == [started.generation]
    if when == "after":
        await nodes[0].finish(claimed[0])
        await nodes[0].jobs.add_again(claimed[0].record)
    await opened.client.delete(*await opened.client.keys(f"*:generation:{started.generation}*"))
    for node in nodes:
        assert await node.claim("c") == []
        await node.claims.check()
    channel = channel_for("alice", topic)
    pages = await nodes[0].backend.events.read(
        {channel: FROM_START}, max_events=100, max_bytes=10**6
    )
    ends = [
        each
        for each in pages[channel].events
        if each.name in ("generation.done", "generation.failed")
    ]
    (end,) = ends
    expected = "generation.done" if when == "after" else "generation.failed"
    assert end.name == expected
    if when != "after":
        assert json.loads(end.data)["code"] == "generation_lost"
        assert sum(len(node.results) for node in nodes) == 1
    assert (await nodes[0].backend.queue.list_jobs(10)).total == 0
    (other,) = await nodes[0].ask()
    assert [each.record.id for each in await nodes[1].claim("d")] == [other]


async def test_waiting_claim(opened: OpenedRedis) -> None:
    """A claim that waits gets a job that comes later; one whose producer has gone takes none."""
    nodes = [ClaimNode(opened), ClaimNode(opened)]
    is_connected = True
    closing = asyncio.create_task(
        nodes[0].claim(wait_seconds=30, is_connected=lambda: is_connected)
    )
    await asyncio.sleep(0.01)  # so that it waits
    waiting = asyncio.create_task(nodes[1].claim("c", wait_seconds=30))
    is_connected = False
    assert await closing == []
    (generation,) = await nodes[0].ask()
    (job,) = await waiting
    assert job.record.id == generation


async def test_drain_answers_waiting_claims(opened: OpenedRedis) -> None:
    """When a node drains, the claims that wait on it are answered at once."""
    node = ClaimNode(opened)
    waiting = [asyncio.create_task(node.claim(key=key, wait_seconds=60)) for key in "ab"]
    await asyncio.sleep(0.01)  # so that they wait
    node.producers.draining.set()
    assert await asyncio.gather(*waiting) == [[], []]


async def test_limits_of_waiting_claims(opened: OpenedRedis) -> None:
    """A node lets so many claims wait, of all keys and of each."""
    node = ClaimNode(opened)
    keys = ["a", "a", "b"]
    waiting = [asyncio.create_task(node.claim(key=key, wait_seconds=60)) for key in keys[:2]]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await node.claim(key="a", wait_seconds=60)
    waiting.append(asyncio.create_task(node.claim(key="b", wait_seconds=60)))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await node.claim(key="c", wait_seconds=60)
    node.producers.draining.set()
    await asyncio.gather(*waiting)
