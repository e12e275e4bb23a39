"""Test generations with real processes: lost workers, faulty upstreams, limits per user.

The node, the workers and Valkey are processes. The upstreams are simulated LLMs in this process.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from hub.engine.worker.worker import RESERVE_TIMEOUT_SECONDS
from hub.settings import Settings
from hub.upstreams.simulated.answers import choose_answer
from tests.e2e.cluster import ENDS, Cluster, GenerationEvents, create_cluster
from tests.topologies import free_ports


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Yield a cluster that is not started yet."""
    async with create_cluster() as cluster:
        yield cluster


def final_text(events: GenerationEvents) -> str:
    """Return the final text; check that deltas are numbered without gaps from 0 after a start."""
    text, expected = "", 0
    for name, data in events:
        if name in ("generation.started", "generation.restarted"):
            text, expected = "", 0
        elif name == "generation.delta":
            assert data["i"] == expected
            expected += 1
            text += data["text"]
    return text


def test_leases_expire_in_time() -> None:
    """F4: another worker takes over within 15 s: it claims a job when it next reads the queue after
    the lease has expired.
    """
    assert Settings().worker.lease_seconds + RESERVE_TIMEOUT_SECONDS < 15


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_lost_worker_with_a_hundred_answers(cluster: Cluster, how: signal.Signals) -> None:
    """F4: another worker takes over each answer once its lease has expired, and each answer has one
    end.
    """
    await cluster.add_upstream(
        "sim", tokens_per_second=2.0
    )  # no answer ends before the worker is lost
    if how is signal.SIGSTOP:
        cluster.set("WORKER__LEASE_SECONDS", "5")
    await cluster.start()
    first = await cluster.start_worker()
    prompt, users = "count to 200", [f"u{n}" for n in range(100)]
    started = await asyncio.gather(
        *(cluster.start_generation(user, prompt, "sim") for user in users)
    )
    assert {status for status, _ in started} == {202}
    cursors = {user: answer["cursor"] for user, (_, answer) in zip(users, started, strict=True)}
    async with asyncio.timeout(120):
        while (await cluster.stats("sim"))["running"] < 100:
            await asyncio.sleep(0.05)
    second = await cluster.start_ready_worker()
    assert (await cluster.stats("sim"))["running"] == 100  # the second worker is ready and idle
    first.send_signal(how)
    readers = [
        asyncio.create_task(cluster.read_generation(u, cursors[u], more_seconds=3.0)) for u in users
    ]
    async with asyncio.timeout(120):
        while (await cluster.stats("sim"))["started"] < 200:
            await asyncio.sleep(0.05)
    cluster.set_speed("sim", 50.0)
    if how is signal.SIGSTOP:
        first.send_signal(signal.SIGCONT)
    for events in await asyncio.gather(*readers):
        names = [name for name, _ in events]
        assert sum(name in ENDS for name in names) == 1, names
        assert names[-1] == "generation.done"
        assert names.count("generation.restarted") == 1
        assert final_text(events) == choose_answer(prompt)
    assert second.returncode is None
    if how is signal.SIGSTOP:
        assert first.returncode is None


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_worker_that_freezes_in_its_blocking_read(cluster: Cluster) -> None:
    """A worker that is given a job while it is stopped does not begin it when it continues."""
    await cluster.add_upstream("sim", tokens_per_second=15.0)
    cluster.set("WORKER__LEASE_SECONDS", "3")
    await cluster.start()
    first = await cluster.start_ready_worker()
    prompt = "count to 60"
    _, answer = await cluster.start_generation("alice", prompt, "sim")
    await cluster.read_generation("alice", answer["cursor"])  # the first worker reads the queue
    while True:
        first.send_signal(signal.SIGSTOP)
        _, answer = await cluster.start_generation("alice", prompt, "sim")
        if await cluster.count_reserved_jobs():
            break
        first.send_signal(signal.SIGCONT)  # it was between two reads
        await cluster.read_generation("alice", answer["cursor"])
    second = await cluster.start_ready_worker()
    async with asyncio.timeout(60):
        while not (await cluster.stats("sim"))["running"]:
            await asyncio.sleep(0.05)
    first.send_signal(signal.SIGCONT)
    events = await cluster.read_generation("alice", answer["cursor"], more_seconds=1.0)
    names = [name for name, _ in events]
    assert names[0] == "generation.started"
    assert "generation.restarted" not in names
    assert [name for name in names if name in ENDS] == ["generation.done"]
    assert final_text(events) == choose_answer(prompt)
    assert (first.returncode, second.returncode) == (None, None)
    async with asyncio.timeout(60):
        while await cluster.count_reserved_jobs():
            await asyncio.sleep(0.05)


FAULTS: Mapping[str, tuple[str, str]] = {  # fault: the end of the generation and its error code
    "busy:1": ("done", ""),
    "flaky:2": ("done", ""),
    "status:500": ("failed", "upstream_status"),
    "hang": ("failed", "upstream_timeout"),
    "stall:5": ("failed", "upstream_timeout"),
    "cut:5": ("failed", "upstream_truncated"),
    "truncate:5": ("failed", "upstream_truncated"),
    "error:5": ("failed", "upstream_error"),
    "garbage:5": ("failed", "upstream_protocol"),
    "line:10000000": ("failed", "upstream_too_large"),
    "endless": ("failed", "answer_too_large"),
}


async def test_faulty_upstreams(cluster: Cluster) -> None:
    """F7: each fault gives one end within the timeouts; retries happen only before a delta."""
    for n, fault in enumerate(FAULTS):
        timeouts = {"hang": ("1", "60"), "stall:5": ("60", "1")}  # others may be slow
        first_byte, idle = timeouts.get(fault, ("60", "60"))
        await cluster.add_upstream(
            f"f{n}", fault, first_byte_seconds=first_byte, idle_seconds=idle, retries="2"
        )
    cluster.set("UPSTREAMS__CLOSED__BASE_URL", f"http://127.0.0.1:{free_ports(1)[0]}/v1")
    cluster.set("UPSTREAMS__CLOSED__DEFAULT_MODEL", "m")
    cluster.set("GENERATIONS__MAX_RECORD_BYTES", "20000")
    await cluster.start()
    await cluster.start_worker()

    async def generate(upstream: str) -> tuple[GenerationEvents, float]:
        started = time.monotonic()
        _, answer = await cluster.start_generation(upstream, "why is the sky blue?", upstream)
        events = await cluster.read_generation(upstream, answer["cursor"], more_seconds=0.5)
        return events, time.monotonic() - started

    names = [*(f"f{n}" for n in range(len(FAULTS))), "closed"]
    expected = [*FAULTS.values(), ("failed", "upstream_unreachable")]
    results = await asyncio.gather(*(generate(name) for name in names))
    seen = []
    for events, seconds in results:
        assert sum(name in ENDS for name, _ in events) == 1
        name, data = events[-1]
        seen.append((name.removeprefix("generation."), data.get("code", "")))
        assert seconds < 100  # the default timeouts are 120 s
        if name == "generation.failed":
            assert set(data) >= {"code", "message", "retryable", "deltas", "seconds"}
    assert seen == expected
    started = {fault: (await cluster.stats(f"f{n}"))["started"] for n, fault in enumerate(FAULTS)}
    assert started == {
        "busy:1": 1,
        "flaky:2": 1,
        "status:500": 0,
        "hang": 3,
        "line:10000000": 1,
        **dict.fromkeys(["stall:5", "cut:5", "truncate:5", "error:5", "garbage:5", "endless"], 1),
    }
    async with asyncio.timeout(60):  # until no upstream has a running request
        for n in range(len(FAULTS)):
            while (await cluster.stats(f"f{n}"))["running"]:
                await asyncio.sleep(0.05)


async def test_fallback_upstream(cluster: Cluster) -> None:
    """If an upstream refuses the request, the fallback answers, and the client sees one answer."""
    await cluster.add_upstream("main", "refuse", retries="0", fallbacks=["spare"])
    await cluster.add_upstream("spare")
    await cluster.start()
    await cluster.start_worker()
    _, answer = await cluster.start_generation("alice", "why is the sky blue?", "main")
    events = await cluster.read_generation("alice", answer["cursor"])
    assert [name for name, _ in events if name != "generation.delta"] == [
        "generation.started",
        "generation.done",
    ]
    assert final_text(events) == choose_answer("why is the sky blue?")


async def test_stop_before_the_first_token(cluster: Cluster) -> None:
    """A stop closes the connection to the upstream at once, not after its timeout of 120 s."""
    await cluster.add_upstream("sim", "hang")
    await cluster.start()
    await cluster.start_worker()
    _, answer = await cluster.start_generation("alice", "hi", "sim")
    async with asyncio.timeout(60):
        while (await cluster.stats("sim"))["running"] < 1:
            await asyncio.sleep(0.02)
    url = f"{cluster.url}/generations/{answer['generation']}?user=alice"
    async with cluster.session.delete(url) as stopped:
        assert (await stopped.json())["status"] == "stopping"
    async with asyncio.timeout(60):
        while (await cluster.stats("sim"))["running"]:
            await asyncio.sleep(0.01)
    events = await cluster.read_generation("alice", answer["cursor"])
    assert events[-1][0] == "generation.stopped"
    assert (events[-1][1]["by"], events[-1][1]["deltas"]) == ("alice", 0)


async def test_many_requests_of_one_user_do_not_block_others(cluster: Cluster) -> None:
    """The requests over the limit are answered with 429; another user gets an answer meanwhile."""
    await cluster.add_upstream("sim", tokens_per_second=20.0)
    await cluster.start()
    await cluster.start_worker()
    statuses = []
    for _ in range(40):
        url = f"{cluster.url}/generations?user=alice"
        body = {"prompt": "count to 900", "upstream": "sim"}  # none ends before the last request
        async with cluster.session.post(url, json=body) as answer:
            statuses.append(answer.status)
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) > 0
                assert "too many generations" in (await answer.json())["detail"]
    assert statuses == [202] * 24 + [429] * 16
    assert (await cluster.stats("sim"))["running"] <= 4
    _, generation = await cluster.start_generation("bob", "count to 5", "sim")
    events = await cluster.read_generation("bob", generation["cursor"])
    assert events[-1][0] == "generation.done"
    stats = await cluster.stats("sim")
    assert stats["started"] < 24  # many requests of alice are still queued
    assert stats["running"] <= 4


async def test_worker_probes_metrics_and_usage(cluster: Cluster) -> None:
    """Token counts appear in the end event, in the metrics, and in the usage totals."""
    await cluster.add_upstream("sim")
    await cluster.start()
    (port,) = free_ports(1)
    cluster.set("WORKER__PORT", str(port))
    await cluster.start_worker()
    _, generation = await cluster.start_generation("alice", "why is the sky blue?", "sim")
    events = await cluster.read_generation("alice", generation["cursor"])
    end = events[-1][1]
    tokens = end["usage"]["completion_tokens"]
    assert 0 <= end["seconds"]["queued"] <= end["seconds"]["first_delta"] <= end["seconds"]["total"]
    worker = f"http://127.0.0.1:{port}"
    async with cluster.session.get(f"{worker}/healthz") as answer:
        assert await answer.json() == {"status": "ok", "state": "running"}
    labels, text = 'model="simulated-1"', ""
    ended = f'hub_generations_ended_total{{code="",{labels},status="done",upstream="sim"}} 1.0'
    async with asyncio.timeout(60):
        while ended not in text:  # the counter changes after the end is published
            async with cluster.session.get(f"{worker}/metrics") as answer:
                text = await answer.text()
    assert f'kind="completion",{labels},upstream="sim"}} {tokens}.0' in text
    async with asyncio.timeout(60):
        totals: list[dict[str, Any]] = []
        while not totals:
            async with cluster.session.get(f"{cluster.internal_url}/usage?user=alice") as answer:
                totals = (await answer.json())["usage"]
    assert len(totals) == 1
    assert (totals[0]["answers"], totals[0]["completion_tokens"]) == (1, tokens)
    async with cluster.session.get(f"{cluster.internal_url}/usage?days=2") as answer:
        assert (await answer.json())["usage"] == totals
