"""Answers through real processes: workers that are lost, upstreams that misbehave, users in turn.

Node, workers and Valkey are processes; the upstreams are simulated LLMs in this one, over HTTP.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from hub.upstreams.simulated_answers import choose_answer
from tests.e2e.cluster import ENDS, Cluster, GenerationEvents, create_cluster
from tests.topologies import free_ports


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Nothing runs yet."""
    async with create_cluster() as cluster:
        yield cluster


def text_of(story: GenerationEvents) -> str:
    """What a reader sees at the end; deltas count from 0 after each beginning, without a hole."""
    text, expected = "", 0
    for name, data in story:
        if name in ("generation.started", "generation.restarted"):
            text, expected = "", 0
        elif name == "generation.delta":
            assert data["i"] == expected
            expected += 1
            text += data["text"]
    return text


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_worker_lost_in_the_middle_of_a_hundred_answers(
    cluster: Cluster, how: signal.Signals
) -> None:
    """F4: each is taken over within 15 s and has one end; who was frozen writes nothing more."""
    await cluster.add_upstream("sim", tokens_per_second=2.0)  # none ends before its worker is lost
    if how is signal.SIGSTOP:
        cluster.set("WORKER__LEASE_SECONDS", "5")
    await cluster.start()
    first = await cluster.start_worker()
    prompt, users = "count to 200", [f"u{n}" for n in range(100)]
    asked = await asyncio.gather(*(cluster.start_generation(user, prompt, "sim") for user in users))
    assert {status for status, _ in asked} == {202}
    cursors = {user: answer["cursor"] for user, (_, answer) in zip(users, asked, strict=True)}
    async with asyncio.timeout(60):
        while (await cluster.stats("sim"))["running"] < 100:
            await asyncio.sleep(0.05)
    second = await cluster.start_ready_worker()
    assert (await cluster.stats("sim"))["running"] == 100  # it is there, and finds nothing to do
    first.send_signal(how)
    lost_at = time.monotonic()
    reading = [
        asyncio.create_task(cluster.read_generation(u, cursors[u], more_seconds=3.0)) for u in users
    ]
    async with asyncio.timeout(60):
        while (await cluster.stats("sim"))["started"] < 200:
            await asyncio.sleep(0.05)
    taken_over_after = time.monotonic() - lost_at
    cluster.set_speed("sim", 50.0)
    print(f"all taken over after {taken_over_after:.1f} s")
    if how is signal.SIGSTOP:
        first.send_signal(signal.SIGCONT)
    for story in await asyncio.gather(*reading):
        names = [name for name, _ in story]
        assert sum(name in ENDS for name in names) == 1, names
        assert names[-1] == "generation.done"
        assert names.count("generation.restarted") == 1
        assert text_of(story) == choose_answer(prompt)
    assert taken_over_after < 15, taken_over_after
    assert second.returncode is None
    if how is signal.SIGSTOP:
        assert first.returncode is None


FAULTS: Mapping[str, tuple[str, str]] = {  # fault → how it ends, with which code
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
    "endless": ("failed", "upstream_too_large"),
}


async def test_upstreams_that_misbehave(cluster: Cluster) -> None:
    """F7: one clear end each, within the time-outs; asked again only before the first delta."""
    for n, fault in enumerate(FAULTS):
        await cluster.add_upstream(
            f"f{n}", fault, first_byte_seconds="1", idle_seconds="1", retries="2"
        )
    cluster.set("UPSTREAMS__NOBODY__BASE_URL", f"http://127.0.0.1:{free_ports(1)[0]}/v1")
    cluster.set("UPSTREAMS__NOBODY__DEFAULT_MODEL", "m")
    cluster.set("GENERATIONS__MAX_TEXT_BYTES", "20000")
    await cluster.start()
    await cluster.start_worker()

    async def one(upstream: str) -> tuple[GenerationEvents, float]:
        begun = time.monotonic()
        _, answer = await cluster.start_generation(upstream, "why is the sky blue?", upstream)
        story = await cluster.read_generation(upstream, answer["cursor"], more_seconds=0.5)
        return story, time.monotonic() - begun

    names = [*(f"f{n}" for n in range(len(FAULTS))), "nobody"]
    expected = [*FAULTS.values(), ("failed", "upstream_unreachable")]
    results = await asyncio.gather(*(one(name) for name in names))
    seen = []
    for story, seconds in results:
        assert sum(name in ENDS for name, _ in story) == 1
        name, data = story[-1]
        seen.append((name.removeprefix("generation."), data.get("code", "")))
        assert seconds < 60  # the time-outs that nobody set are 120 s
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
    async with asyncio.timeout(30):  # nothing is left running at the upstreams
        for n in range(len(FAULTS)):
            while (await cluster.stats(f"f{n}"))["running"]:
                await asyncio.sleep(0.05)


async def test_next_upstream_in_line(cluster: Cluster) -> None:
    """One that refuses is passed over; the reader sees one answer."""
    await cluster.add_upstream("main", "refuse", retries="0", fallbacks=["spare"])
    await cluster.add_upstream("spare")
    await cluster.start()
    await cluster.start_worker()
    _, answer = await cluster.start_generation("alice", "why is the sky blue?", "main")
    story = await cluster.read_generation("alice", answer["cursor"])
    assert [name for name, _ in story if name != "generation.delta"] == [
        "generation.started",
        "generation.done",
    ]
    assert text_of(story) == choose_answer("why is the sky blue?")


async def test_stop_before_the_first_token(cluster: Cluster) -> None:
    """The upstream's connection is closed: not by its own time-out, of 120 s."""
    await cluster.add_upstream("sim", "hang")
    await cluster.start()
    await cluster.start_worker()
    _, answer = await cluster.start_generation("alice", "hi", "sim")
    async with asyncio.timeout(30):
        while (await cluster.stats("sim"))["running"] < 1:
            await asyncio.sleep(0.02)
    url = f"{cluster.url}/generations/{answer['generation']}?user=alice"
    async with cluster.session.delete(url) as stopped:
        assert (await stopped.json())["status"] == "stopping"
    async with asyncio.timeout(30):
        while (await cluster.stats("sim"))["running"]:
            await asyncio.sleep(0.01)
    story = await cluster.read_generation("alice", answer["cursor"])
    assert story[-1][0] == "generation.stopped"
    assert (story[-1][1]["by"], story[-1][1]["deltas"]) == ("alice", 0)


async def test_one_users_thousand_questions_starve_nobody(cluster: Cluster) -> None:
    """Few run, some wait, the rest is refused with 429; another user is answered meanwhile."""
    await cluster.add_upstream("sim", tokens_per_second=20.0)
    await cluster.start()
    await cluster.start_worker()
    statuses = []
    for _ in range(40):
        url = f"{cluster.url}/generations?user=alice"
        body = {"prompt": "a long one", "upstream": "sim"}
        async with cluster.session.post(url, json=body) as answer:
            statuses.append(answer.status)
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) > 0
                assert "too many questions" in (await answer.json())["detail"]
    assert statuses == [202] * 24 + [429] * 16
    assert (await cluster.stats("sim"))["running"] <= 4
    _, asked = await cluster.start_generation("bob", "count to 5", "sim")
    story = await cluster.read_generation("bob", asked["cursor"])
    assert story[-1][0] == "generation.done"
    stats = await cluster.stats("sim")
    assert stats["started"] < 24  # many of hers still wait
    assert stats["running"] <= 4


async def test_worker_probes_metrics_and_usage(cluster: Cluster) -> None:
    """What an answer used is on its end, in the metrics, and in the sums."""
    await cluster.add_upstream("sim")
    await cluster.start()
    (port,) = free_ports(1)
    cluster.set("WORKER__PORT", str(port))
    await cluster.start_worker()
    _, asked = await cluster.start_generation("alice", "why is the sky blue?", "sim")
    story = await cluster.read_generation("alice", asked["cursor"])
    end = story[-1][1]
    tokens = end["usage"]["completion_tokens"]
    assert 0 <= end["seconds"]["queued"] <= end["seconds"]["first_delta"] <= end["seconds"]["total"]
    worker = f"http://127.0.0.1:{port}"
    async with cluster.session.get(f"{worker}/healthz") as answer:
        assert await answer.json() == {"status": "ok", "state": "running"}
    labels, text = 'model="simulated-1"', ""
    ended = f'hub_generations_ended_total{{code="",{labels},status="done",upstream="sim"}} 1.0'
    async with asyncio.timeout(30):
        while ended not in text:  # it is counted after its end was published
            async with cluster.session.get(f"{worker}/metrics") as answer:
                text = await answer.text()
    assert f'kind="completion",{labels},upstream="sim"}} {tokens}.0' in text
    async with asyncio.timeout(30):
        sums: list[dict[str, Any]] = []
        while not sums:
            async with cluster.session.get(f"{cluster.internal_url}/usage?user=alice") as answer:
                sums = (await answer.json())["usage"]
    assert len(sums) == 1
    assert (sums[0]["answers"], sums[0]["completion_tokens"]) == (1, tokens)
    async with cluster.session.get(f"{cluster.internal_url}/usage?days=2") as answer:
        assert (await answer.json())["usage"] == sums
