"""Guards with real processes: a node, a worker with its child processes, and an HTTP endpoint."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub.core.folded_parts import FoldedParts
from hub.upstreams.simulated.answers import choose_answer
from tests.doubles import until
from tests.e2e.cluster import Cluster, GenerationEvents, create_cluster

APP = "tests.e2e.guard_app"
PROMPT = "Call 030 1234 5678 or write to bob@example.com.|More: eve@example.org"
MASKED = "Call [contact] or write to [contact].More: [contact]"


class Endpoint:
    """An HTTP endpoint that checks. `windows` holds what it got."""

    def __init__(self) -> None:
        self.windows: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()

    async def check(self, request: web.Request) -> web.Response:
        window = await request.json()
        self.windows.append(window)
        self.keys.add(request.headers.get("Authorization"))
        if "blocked" in window["whole_text"]:
            return web.json_response(
                {"verdict": "end", "code": "policy", "message": "No.", "text": "[removed]"}
            )
        return web.Response(status=204)


@pytest.fixture
async def endpoint() -> AsyncIterator[tuple[Endpoint, str]]:
    """An HTTP endpoint, and its URL."""
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_post("/check", endpoint.check)
    async with TestServer(app) as server:
        yield endpoint, str(server.make_url("/check"))


@pytest.fixture
async def cluster(endpoint: tuple[Endpoint, str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """A node whose upstreams have guards, without a worker."""
    guards: dict[str, dict[str, Any]] = {
        "example": {"target": "examples.guards:check"},
        "http": {"url": endpoint[1], "api_key": "k", "hold_back_characters": 10},
        "hangs": {"target": f"{APP}:hang"},
        "pid": {"target": f"{APP}:pid", "hold_back_characters": 0},
        "fails": {"target": f"{APP}:fail"},
        "crashes": {"target": f"{APP}:crash_once"},
    }
    async with create_cluster() as cluster:
        for name, guard in guards.items():
            cluster.set(f"UPSTREAMS__{name}__KIND", "function")
            cluster.set(f"UPSTREAMS__{name}__TARGET", f"{APP}:app")
            for setting, value in guard.items():
                cluster.set(f"UPSTREAMS__{name}__GUARD__{setting}", value)
        await cluster.add_upstream("sim", tokens_per_second=400.0)
        for name in ("asks", "suspends"):
            cluster.set(f"UPSTREAMS__{name}__KIND", "function")
            cluster.set(f"UPSTREAMS__{name}__TARGET", f"{APP}:{name}")
            cluster.set(f"UPSTREAMS__{name}__GUARD__TARGET", "examples.guards:check")
        cluster.set("UPSTREAMS__sim__GUARD__TARGET", "examples.guards:check")
        cluster.set_environment({"GUARD_MARKER": str(tmp_path / "crashed")})
        await cluster.start()
        yield cluster


async def ask(cluster: Cluster, upstream: str, prompt: str) -> GenerationEvents:
    status, answer = await cluster.start_generation(upstream, prompt, upstream)
    assert status == 202
    return await cluster.read_generation(upstream, answer["cursor"])


async def wait_for_status(cluster: Cluster, url: str, status: str) -> dict[str, Any]:
    """Return the snapshot of an answer with this status."""
    async with asyncio.timeout(60):
        while True:
            async with cluster.session.get(url) as response:
                snapshot: dict[str, Any] = await response.json()
            if snapshot["status"] == status:
                return snapshot
            await asyncio.sleep(0.01)


def texts(events: GenerationEvents) -> list[str]:
    """Return the text after each event."""
    folded, seen = FoldedParts(), []
    for name, data in events:
        folded.apply(name, data)
        seen.append(folded.text)
    return seen


async def test_guards(cluster: Cluster, endpoint: tuple[Endpoint, str]) -> None:
    """Functions, LLMs, HTTP endpoints, a guard that fails, hangs or is killed, and the metrics."""
    worker = await cluster.start_ready_worker()
    events = await ask(cluster, "example", PROMPT)
    assert all(MASKED.startswith(text) for text in texts(events))
    assert texts(events)[-1] == MASKED
    kinds = [data.get("type", "text") for name, data in events[1:-1]]
    assert kinds.index("status") < len(kinds) - 1

    events = await ask(cluster, "example", "All about Project\nNightingale and more")
    name, end = events[-1]
    assert (name, end["code"], end["retryable"]) == ("generation.failed", "off_topic", False)
    assert texts(events)[-1] == ""
    assert not any("Nightingale" in json.dumps(data) for _, data in events)

    events = await ask(cluster, "sim", "why is the sky blue?")
    assert texts(events)[-1] == choose_answer("why is the sky blue?")
    assert events[-1][0] == "generation.done"

    events = await ask(cluster, "http", "this is blocked")
    assert (events[-1][1]["code"], texts(events)[-1]) == ("policy", "[removed]")
    served, _ = endpoint
    assert served.keys == {"Bearer k"}
    window = served.windows[-1]
    assert (window["user"], window["kind"], window["attempt"]) == ("http", "text", 1)

    events = await ask(cluster, "crashes", "abc")
    assert (events[-1][0], texts(events)[-1]) == ("generation.done", "ABC")

    events = await ask(cluster, "fails", "abc")
    assert (events[-1][1]["code"], texts(events)[-1]) == ("guard_failed", "")
    assert not any("secret" in json.dumps(data) for _, data in events)
    await until(lambda: "a secret of the application" in cluster.log("worker"))

    for name, status in (("asks", "waiting"), ("suspends", "suspended")):
        _, answer = await cluster.start_generation(name, "x", name)
        url = f"{cluster.url}/generations/{answer['generation']}"
        reading = asyncio.create_task(cluster.read_generation(name, answer["cursor"]))
        snapshot = await wait_for_status(cluster, f"{url}?user={name}", status)
        assert snapshot["text"] == "Write to [contact]"
        reply = {"value": ", not to"}
        async with cluster.session.post(f"{url}/inputs/ok?user={name}", json=reply) as response:
            assert response.status == 200
        assert texts(await reading)[-1] == "Write to [contact], not to [contact]"

    _, answer = await cluster.start_generation("hangs", "abc", "hangs")
    reading = asyncio.create_task(cluster.read_generation("hangs", answer["cursor"]))
    url = f"{cluster.url}/generations/{answer['generation']}?user=hangs"
    await wait_for_status(cluster, url, "running")
    async with cluster.session.delete(url) as response:
        assert response.status == 202
    events = await reading
    assert [name for name, _ in events] == ["generation.started", "generation.stopped"]

    first = texts(await ask(cluster, "pid", "a"))[-1]
    worker.send_signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        while texts(await ask(cluster, "pid", "a"))[-1] == first:
            pass

    port = cluster._env["HUB_WORKER__PORT"]
    async with cluster.session.get(f"http://127.0.0.1:{port}/metrics") as response:
        metrics = await response.text()
    for sample in (
        'hub_guard_checks_total{upstream="example",verdict="end"} 1',
        'hub_guard_checks_total{upstream="http",verdict="end"} 1',
        'hub_guard_errors_total{upstream="fails"} 1',
        'hub_guard_delay_seconds_count{upstream="sim"}',
    ):
        assert sample in metrics
