"""/generations over HTTP without a worker: what the node does by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.channel import user_channel
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.ports.events import Publication
from tests.http.kit import MAX_BODY, Hub, running_hub

ALICE = "?user=alice"


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication."""
    async with running_hub() as hub:
        yield hub


async def start(hub: Hub, **body: Any) -> dict[str, Any]:
    body = {"prompt": "hi", **body}
    async with hub.ask("POST", f"/generations{ALICE}", json=body) as response:
        started: dict[str, Any] = await response.json()
        assert response.status == 202
        assert response.headers["Location"] == f"/generations/{started['generation']}"
        return started


async def begin(hub: Hub, generation: str) -> None:
    """Begin a generation, as a worker does."""
    step = GenerationUpdate(generation, 1, UpdateKind.BEGIN)
    publication = Publication(
        channel=user_channel("alice"), name="generation.started", data=b"{}", update=step
    )
    await hub.backend.events.publish([publication])


async def test_started_generation_is_queued(hub: Hub) -> None:
    """A started generation is in the queue, and its snapshot has the request."""
    started = await start(hub, params={"temperature": 0.5}, metadata={"chat": 7})
    lease = await hub.backend.queue.reserve(1)
    assert lease is not None
    assert lease.generation == started["generation"]
    _, snapshot = await hub.call("GET", f"/generations/{started['generation']}{ALICE}")
    assert (snapshot["status"], snapshot["model"], snapshot["upstream"]) == ("queued", "m1", "main")
    assert snapshot["messages"] == [{"role": "user", "content": "hi"}]
    assert snapshot["metadata"] == {"chat": 7}


async def test_cursor_stands_before_the_first_event(hub: Hub) -> None:
    """A stream from the cursor has the generation from its first event."""
    await hub.publish(to={"user": "alice"}, data="before")
    started = await start(hub)
    await begin(hub, started["generation"])
    async with hub.stream(f"/sse/connect/alice?cursor={started['cursor']}") as stream:
        assert (await stream.next()).name == "generation.started"


@pytest.mark.parametrize("by_header", [True, False])
async def test_idempotency_key_joins(hub: Hub, by_header: bool) -> None:
    """The same key, in the body or the header, returns the same generation."""
    first = await start(hub, id="k")
    more: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}} if by_header else {}
    body = {"prompt": "hi"} if by_header else {"prompt": "hi", "id": "k"}
    assert await hub.call("POST", f"/generations{ALICE}", json=body, **more) == (202, first)


async def test_idempotency_key_of_another_request(hub: Hub) -> None:
    """The same key with another question is 409 and starts nothing."""
    await start(hub, id="k")
    body = {"prompt": "something else", "id": "k"}
    status, problem = await hub.call("POST", f"/generations{ALICE}", json=body)
    assert (status, problem["code"], problem["path"]) == (409, "idempotency_key_reused", "id")
    assert len(hub.backend.generations.records) == 1


async def test_stopped_while_queued_never_begins(hub: Hub) -> None:
    """DELETE ends a queued generation with one end event; a second DELETE finds it ended."""
    started = await start(hub)
    path = f"/generations/{started['generation']}{ALICE}"
    async with hub.stream("/sse/connect/alice") as stream:
        assert (await hub.call("DELETE", path))[0] == 202
        event = await stream.next()
    assert event.name == "generation.stopped"
    data = json.loads(event.data)
    assert data.pop("seconds").keys() == {"queued", "first_delta", "total"}
    by = {"by": "alice", "deltas": 0, "usage": None}
    assert data == {"generation": started["generation"], **by}
    assert await hub.call("DELETE", path) == (
        200,
        {"generation": started["generation"], "status": "already ended"},
    )
    assert (await hub.call("GET", path))[1]["status"] == "stopped"


async def test_stop_while_running_is_announced(hub: Hub) -> None:
    """A stop request is stored in the record; the worker writes the end event."""
    started = await start(hub)
    await begin(hub, started["generation"])
    status, stopped = await hub.call("DELETE", f"/generations/{started['generation']}{ALICE}")
    assert (status, stopped["status"]) == (202, "stopping")
    record = await hub.backend.generations.find(started["generation"])
    assert record is not None
    assert (record.status, record.stop_requested_by) == (Status.STOPPING, "alice")


async def test_restart_asks_the_same_anew(hub: Hub) -> None:
    """A restart starts another generation with the same request and stops the queued one."""
    started = await start(hub, prompt="again")
    status, again = await hub.call("POST", f"/generations/{started['generation']}/restart{ALICE}")
    assert status == 202
    assert again["generation"] != started["generation"]
    _, old = await hub.call("GET", f"/generations/{started['generation']}{ALICE}")
    _, new = await hub.call("GET", f"/generations/{again['generation']}{ALICE}")
    assert (old["status"], new["status"]) == ("stopped", "queued")
    assert new["messages"] == old["messages"]


async def test_restart_of_the_same_key_is_one(hub: Hub) -> None:
    """A repeated restart with the same key returns the same generation."""
    started = await start(hub, prompt="again")
    url = f"http://127.0.0.1:{hub.port}/generations/{started['generation']}/restart{ALICE}"
    generations = []
    for key in ("k", "k", "other"):
        async with hub.session.post(url, headers={"Idempotency-Key": key}) as response:
            assert response.status == 202
            generations.append((await response.json())["generation"])
    assert generations[0] == generations[1] != generations[2]
    async with hub.session.post(url, headers={"Idempotency-Key": "x" * 300}) as response:
        assert response.status == 400


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_anothers_generation_is_forbidden(hub: Hub, method: str) -> None:
    """Another user's generation is a 403, an unknown one a 404."""
    started = await start(hub)
    tail = "/restart" if method == "POST" else ""
    path = f"/generations/{started['generation']}{tail}"
    assert (await hub.call(method, f"{path}?user=bob"))[0] == 403
    assert (await hub.call(method, f"/generations/g00{'x' * 16}{tail}{ALICE}"))[0] == 404
    assert (await hub.call(method, f"/generations/nonsense{tail}{ALICE}"))[0] == 404


@pytest.mark.parametrize(
    ("body", "path", "sentence"),
    [
        ({}, "prompt", "either prompt or messages"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"messages": []}, "messages", "empty"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "prompt", "either"),
        ({"messages": [{"content": "x"}]}, "messages[0]", "missing required field `role`"),
        ({"messages": [{"role": "user", "contnt": "x"}]}, "messages[0].contnt", "no field"),
        ({"prompt": "x", "upstream": "nope"}, "upstream", "the hub has: main, open"),
        ({"prompt": "x", "model": "nope"}, "model", "it has: m1, m2"),
        ({"prompt": "x", "upstream": "open"}, "model", "name the model"),
        ({"prompt": "x", "promt": "x"}, "promt", "there is no field 'promt'"),
        ({"prompt": "x", "on_disconnect": "explode"}, "on_disconnect", "continue or stop"),
        ({"prompt": "x", "id": "a\nb"}, "id", "not contain CR, LF or NUL"),
        ({"prompt": "x", "params": [1]}, "params", "expected `object`"),
    ],
)
async def test_bad_question(hub: Hub, body: dict[str, Any], path: str, sentence: str) -> None:
    """An invalid request is a 400 that names the field, and queues nothing."""
    status, problem = await hub.call("POST", f"/generations{ALICE}", json=body)
    assert (status, problem["path"]) == (400, path)
    assert sentence in problem["detail"]
    assert await hub.backend.queue.reserve(0.001) is None


async def test_too_large_question(hub: Hub) -> None:
    """A request above the size limit is a 413."""
    body = {"prompt": "x" * MAX_BODY}
    assert (await hub.call("POST", f"/generations{ALICE}", json=body))[0] == 413


async def test_broker_away(hub: Hub) -> None:
    """While the broker is unavailable, a start is a 503 and queues nothing."""
    hub.backend.is_unavailable = True
    assert (await hub.call("POST", f"/generations{ALICE}", json={"prompt": "x"}))[0] == 503
    assert await hub.backend.queue.reserve(0.001) is None
