"""GET /metrics: the numbers agree exactly with what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.core.metrics import MetricFamily
from hub.http.server import ListenAddress, listen
from hub.wiring.multiprocess_metrics import PeerMetrics
from tests.http.kit import LIMITS, Hub, running_hub

Numbers = dict[str, float]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication."""
    async with running_hub() as hub:
        yield hub


async def read(hub: Hub) -> Numbers:
    """Return every sample by its name and labels."""
    async with hub.ask("GET", "/metrics", internal=True) as response:
        assert response.content_type == "text/plain"
        return samples(await response.text())


def samples(text: str) -> Numbers:
    return {
        sample.name
        + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_streams_and_events(hub: Hub) -> None:
    """Connections are counted by close reason, events as published, delivered and replayed."""
    async with hub.stream("/sse/connect/alice") as first, hub.stream("/sse/connect/bob") as second:
        for n in range(5):
            await hub.publish(to={"users": ["alice", "bob"]}, data=n)
        await hub.publish(to={"all": True}, data="x", ephemeral=True)
        for stream in (first, second):
            for _ in range(6):
                await stream.next()
        cursor = first.opened.id
        async with hub.stream(f"/sse/connect/alice?cursor={cursor}") as late:
            for _ in range(5):
                await late.next()
            metrics = await read(hub)
            assert metrics["hub_connections sse"] == 3
            assert metrics["hub_users"] == 2
    assert metrics["hub_events_published_total written"] == 11
    assert metrics["hub_events_delivered_total sse"] == 12 + 5
    assert metrics["hub_events_replayed_total"] == 5
    await hub.node.admin_commands.disconnect("bob")
    async with asyncio.timeout(60):
        while metrics["hub_connections sse"]:
            metrics = await read(hub)
    assert metrics["hub_connections_opened_total sse"] == 3
    closed = {name: n for name, n in metrics.items() if "closed_total" in name}
    assert sum(closed.values()) == 3
    assert metrics["hub_events_delivered_total sse"] == 17


async def test_resets_and_duplicates(hub: Hub) -> None:
    """Resets are counted by reason, publishes by outcome."""
    await hub.publish(to={"user": "alice"}, data=1, id="k")
    await hub.publish(to={"user": "alice"}, data=1, id="k")
    async with hub.stream("/sse/connect/alice?cursor=AAAAA-5.") as stream:
        assert (await stream.next()).name == "hub.reset"
        metrics = await read(hub)
    assert metrics["hub_resets_total epoch"] == 1
    assert metrics["hub_events_published_total duplicate"] == 1
    assert metrics["hub_events_delivered_total sse"] == 0


async def test_requests_by_route_and_status(hub: Hub) -> None:
    """Requests are counted by the pattern of the route, never by the path."""
    await hub.call("GET", "/users/alice", internal=True)
    await hub.call("GET", "/users/no%20name", internal=True)
    await hub.call("GET", "/nowhere/at/all")
    await hub.call("POST", "/generations?user=alice", json={})
    metrics = await read(hub)
    answered = {
        name: n for name, n in metrics.items() if name.startswith("hub_http_requests_total")
    }
    assert answered == {
        "hub_http_requests_total internal /users/{user_id} 200": 1,
        "hub_http_requests_total internal /users/{user_id} 400": 1,
        "hub_http_requests_total public unknown 404": 1,
        "hub_http_requests_total public /generations 400": 1,
    }


async def test_limits_that_refuse() -> None:
    """Refused requests are counted by the name of the limit."""
    limits = msgspec.structs.replace(LIMITS, max_per_address=0)
    keys = ApiKeys([ApiKey("k", hash_key("secret"), frozenset({"publish"}))])
    async with running_hub(keys=keys, limits=limits, rate=1.0) as hub:
        assert (await hub.call("GET", "/sse/connect/alice"))[0] == 429
        headers = {"Authorization": "Bearer secret"}
        body = {"to": {"user": "a"}, "data": 1}
        for _ in range(3):
            await hub.call("POST", "/publish", internal=True, json=body, headers=headers)
        metrics = await read(hub)
    assert metrics["hub_requests_refused_total address"] == 1
    assert metrics["hub_requests_refused_total publishes"] == 2


async def test_peer_of_another_version(tmp_path: Path) -> None:
    """During an upgrade, a process of another version is left out of the metrics."""

    async def serve_newer(request: web.Request) -> web.Response:
        family = {"name": "n", "help": "", "kind": "to come", "labels": [], "samples": []}
        return web.json_response([family])

    other = web.Application()
    other.add_routes([web.get("/", serve_newer)])
    address = ListenAddress("", 0, "node.metrics_dir", path=str(tmp_path / "other.sock"))
    family = MetricFamily("family", "Help.", "gauge", [], [([], 1.0)])
    async with listen(other, address, cancel_handlers=True):
        text = await PeerMetrics(tmp_path, "me", lambda: [family]).collect()
    assert samples(text.decode()) == {"family me": 1.0}


async def test_peers_may_have_any_name(tmp_path: Path) -> None:
    """The name of a process may contain characters that a path cannot."""
    names = ["a/b", "long" * 50]
    family = MetricFamily("family", "Help.", "gauge", [], [([], 1.0)])
    first, second = (PeerMetrics(tmp_path, name, lambda: [family]) for name in names)
    async with first.serve(), second.serve():
        text = await first.collect()
    assert samples(text.decode()) == {f"family {name}": 1.0 for name in names}
    assert not [*tmp_path.glob("*")]  # noqa: ASYNC240 - an empty folder of the test's own
