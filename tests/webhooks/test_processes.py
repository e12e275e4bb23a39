"""Every answer's webhook arrives, in order per user, while receivers and workers die.

The node, the workers and Valkey are processes; the receiver and the LLM are in this process.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.e2e.cluster import Cluster, create_cluster
from tests.webhooks.receiver import SECRET, Receiver

USERS = [f"u{n}" for n in range(6)]
ROUNDS = 3


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with create_cluster() as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_receiver_and_workers_that_die(cluster: Cluster) -> None:
    """A receiver that fails, hangs and redirects, and workers that are killed while they send, lose
    no event and change no order.
    """
    receiver = Receiver()
    await receiver.server.start_server()
    requests, hung = 0, asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        if requests <= 3:  # those of the worker that is killed
            hung.set()
            await asyncio.sleep(3600)
        if requests % 4 == 0:
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if requests % 4 == 1:
            return web.Response(status=503, headers={"Retry-After": "31536000"})
        return web.Response()

    receiver.respond = respond
    await cluster.add_upstream("sim", tokens_per_second=10_000.0)
    endpoint = {"url": receiver.url, "secrets": [SECRET], "include": "record"}
    cluster.set("WEBHOOKS", json.dumps([{**endpoint, "allow_private": True}]))
    for name, value in {
        "POLL": "0.1",
        "MIN_RETRY": "0.05",
        "MAX_RETRY": "0.2",
        "TIMEOUT": "1",
    }.items():
        cluster.set(f"DELIVERIES__{name}_SECONDS", value)
    await cluster.start()
    first = await cluster.start_worker()
    started: dict[str, list[str]] = {user: [] for user in USERS}
    try:
        for n in range(ROUNDS):
            for user in USERS:
                status, answer = await cluster.start_generation(user, f"count to {n + 3}", "sim")
                assert status == 202
                started[user].append(answer["generation"])
        await hung.wait()
        first.send_signal(signal.SIGKILL)
        await cluster.start_worker()
        expected = {generation for each in started.values() for generation in each}
        async with asyncio.timeout(120):
            while {body["data"]["generation"] for _, body in receiver.received} != expected:
                receiver.arrived.clear()
                await receiver.arrived.wait()
        for _, body in receiver.received:
            assert body["type"] == "generation.done"
            assert body["data"]["record"]["text"]
            assert body["data"]["record"]["status"] == "done"
        for user in USERS:
            ends = [body for _, body in receiver.received if body["data"]["user"] == user]
            times = [body["timestamp"] for body in ends]
            assert times == sorted(times)
    finally:
        await receiver.server.close()
