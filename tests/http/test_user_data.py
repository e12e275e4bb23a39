"""GET and DELETE /users/{id}/data: what the hub keeps about a user, exported and erased."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.core.channel import user_channel
from hub.core.parts import Finished, Text
from hub.core.usage import OTHER_MODELS
from hub.engine.usage import UsageRecorder
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.ports.events import Publication
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, ScriptedUpstream
from tests.http.kit import Hub, running_hub

KEYS = ApiKeys(
    [
        ApiKey("boss", hash_key("admin-key"), frozenset({"admin"})),
        ApiKey("shop", hash_key("read-key"), frozenset({"read", "publish"})),
    ]
)
ADMIN = {"Authorization": "Bearer admin-key"}
READER = {"Authorization": "Bearer read-key"}
DATA = "/users/alice/data"


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node with API keys and without workers."""
    async with running_hub(keys=KEYS) as hub:
        yield hub


@asynccontextmanager
async def worker(hub: Hub, *script: Any) -> AsyncIterator[None]:
    """Run a worker whose upstream answers with these parts."""
    upstreams = {"main": ScriptedUpstream([*script, Finished("stop")])}
    store, clock = hub.backend.generations, FakeClock()
    relay = Relay(hub.backend.events, store, upstreams, clock, RELAY_LIMITS)
    worker = Worker(
        hub.backend.queue,
        store,
        relay,
        clock,
        concurrency=9,
        lease_seconds=60.0,
        on_result=UsageRecorder(hub.backend.usage).record,
    )
    tasks = [asyncio.create_task(each()) for each in (worker.run_fetch, worker.run_notices)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await worker.shut_down(0, asyncio.Event())


async def export(hub: Hub, path: str = DATA) -> Any:
    status, body = await hub.call("GET", path, internal=True, headers=ADMIN)
    assert status == 200
    return body


def check_empty(body: Any) -> None:
    """Check that an export has every kind, and nothing of any."""
    kinds = {name: items for name, items in body.items() if name not in ("user", "complete")}
    assert {"blocks", "events", "generations", "usage"} <= kinds.keys()
    assert not any(kinds.values())
    assert (body["user"], body["complete"]) == ("alice", True)


async def erase(hub: Hub, path: str = DATA) -> int:
    async with hub.ask("DELETE", path, internal=True, headers=ADMIN) as response:
        assert await response.read() == b""
        status: int = response.status
        return status


async def publish(hub: Hub, data: Any, user: str = "alice") -> None:
    body = {"to": {"user": user}, "event": "n", "data": data}
    status, _ = await hub.call("POST", "/publish", internal=True, json=body, headers=READER)
    assert status == 200


async def ask(hub: Hub, user: str = "alice", **more: Any) -> str:
    body = {"prompt": "secret", **more}
    status, answer = await hub.call("POST", f"/generations?user={user}", json=body)
    assert status == 202
    generation: str = answer["generation"]
    return generation


async def test_only_an_admin(hub: Hub) -> None:
    """Another scope is refused, and a user id that breaks the rule is named."""
    for method in ("GET", "DELETE"):
        for headers, status in (({}, 401), (READER, 403)):
            answer = await hub.call(method, DATA, internal=True, headers=headers)
            assert answer[0] == status
        status, problem = await hub.call(method, "/users/a%20b/data", internal=True, headers=ADMIN)
        assert (status, problem["path"]) == (400, "user_id")


async def test_export_of_an_unknown_user(hub: Hub) -> None:
    """Every kind is there and empty."""
    check_empty(await export(hub))


async def test_everything_is_exported_and_erased(hub: Hub) -> None:
    """Events, answers, usage, tickets and the budget; what belongs to others stays."""
    for user in ("alice", "bob"):
        await publish(hub, {"text": f"for {user}"}, user)
        assert (await hub.call("POST", f"/tickets?user={user}", json={}))[0] == 201
    async with worker(hub, Text("the answer")):
        for user in ("alice", "bob"):
            generation = await ask(hub, user, id="k", chat="c")
            async with hub.stream(
                f"/generations/{generation}?user={user}", headers={"Accept": "text/event-stream"}
            ) as stream:
                while (await stream.next()).name != "generation.done":
                    pass
    await hub.call("DELETE", "/users/alice/connections?block_seconds=60", internal=True,
                   headers=ADMIN)  # fmt: skip
    body = await export(hub)
    assert body["complete"] is True
    assert body["events"][0]["data"] == {"text": "for alice"}
    assert body["events"][-1]["event"] == "generation.done"
    (answer,) = body["generations"]
    assert answer["request"]["messages"][0]["content"] == "secret"
    assert answer["parts"] == [{"event": "generation.delta", "data": {"text": "the answer"}}]
    assert answer["status"] == "done"
    assert [each["user"] for each in body["tickets"]] == ["alice"]
    assert body["usage"][0]["model"] != OTHER_MODELS
    assert body["stored_bytes"][0] > 0
    assert 0 < body["blocks"][0]["seconds_left"] <= 60
    assert "bob" not in json.dumps(body)
    before = await export(hub, "/users/bob/data")
    assert await erase(hub) == 204
    left = await export(hub)
    assert len(left.pop("blocks")) == 1
    check_empty({**left, "blocks": []})
    assert await export(hub, "/users/bob/data") == before
    assert await erase(hub) == 204


async def test_running_answers_are_stopped_first(hub: Hub) -> None:
    """One that a worker streams, one that waits in the queue, and one in a topic."""
    gate = Gate()
    async with hub.stream("/sse/connect/alice?topics=room:1") as stream:
        async with worker(hub, Text("begun"), gate):
            streaming = await ask(hub)
            while (await stream.next()).name != "generation.delta":
                pass
            queued = await ask(hub, upstream="support")
            in_topic = await ask(hub, upstream="support", to={"topic": "room:1"})
            assert await erase(hub) == 204
        for generation in (streaming, queued, in_topic):
            status, _ = await hub.call("GET", f"/generations/{generation}?user=alice")
            assert status == 404
        assert (await hub.backend.queue.list_jobs(10)).total == 0


async def test_connected_clients_are_reset(hub: Hub) -> None:
    """They refetch their state, and go on behind it."""
    async with hub.stream("/sse/connect/alice") as first:
        await publish(hub, 1)
        assert (await first.next()).data == "1"
        assert await erase(hub) == 204
        reset = await first.next()
        assert reset.name == "hub.reset"
        assert json.loads(reset.data) == {"channel": "user:alice", "reason": "epoch"}
        await publish(hub, 2)
        event = await first.next()
        assert event.data == "2"
    async with hub.stream(f"/sse/connect/alice?cursor={first.opened.id}") as again:
        assert json.loads(again.opened.data)["recovered"] is False
        assert (await again.next()).name == "hub.reset"
    async with hub.stream(f"/sse/connect/alice?cursor={reset.id}") as third:
        assert (await third.next()).data == "2"


async def test_large_export_is_streamed(hub: Hub) -> None:
    """It is valid JSON, in order, and begins before all of it was read."""
    text = "x" * 20_000
    channel = user_channel("alice")
    for n in range(200):
        data = json.dumps([n, text]).encode()
        await hub.backend.events.publish([Publication(channel=channel, name="n", data=data)])
    body = await export(hub)
    assert [each["data"][0] for each in body["events"]] == list(range(200))


async def test_export_that_is_cut_off_is_no_whole_response(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that fails in the middle ends the body early, which the client sees."""
    text, channel = "x" * 20_000, user_channel("alice")
    for _ in range(50):
        data = json.dumps(text).encode()
        await hub.backend.events.publish([Publication(channel=channel, name="n", data=data)])
    read, calls = hub.backend.events.read, itertools.count()

    async def read_twice(*arguments: Any, **more: Any) -> Any:
        hub.backend.is_unavailable = next(calls) == 2
        return await read(*arguments, **more)

    monkeypatch.setattr(hub.backend.events, "read", read_twice)
    async with hub.ask("GET", DATA, internal=True, headers=ADMIN) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    monkeypatch.undo()
    for method in ("GET", "DELETE"):
        status, _ = await hub.call(method, DATA, internal=True, headers=ADMIN)
        assert status == 503
