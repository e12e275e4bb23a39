"""/generations over HTTP, with no worker: what the node does by itself."""

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
    """A node without tokens."""
    async with running_hub() as hub:
        yield hub


async def start(hub: Hub, **body: Any) -> dict[str, Any]:
    body = {"prompt": "hi", **body}
    async with hub.ask("POST", f"/generations{ALICE}", json=body) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 202
        assert response.headers["Location"] == f"/generations/{answer['generation']}"
        return answer


async def begin(hub: Hub, generation: str) -> None:
    """What a worker does first."""
    step = GenerationUpdate(generation, 1, UpdateKind.BEGIN)
    publication = Publication(
        channel=user_channel("alice"), name="generation.started", data=b"{}", update=step
    )
    await hub.backend.events.publish([publication])


async def test_started_generation_is_queued(hub: Hub) -> None:
    """The job is in the queue, the snapshot says so and holds the question."""
    started = await start(hub, params={"temperature": 0.5}, metadata={"chat": 7})
    lease = await hub.backend.queue.reserve(1)
    assert lease is not None
    assert lease.generation == started["generation"]
    _, found = await hub.call("GET", f"/generations/{started['generation']}{ALICE}")
    assert (found["status"], found["model"], found["upstream"]) == ("queued", "m1", "main")
    assert found["messages"] == [{"role": "user", "content": "hi"}]
    assert found["metadata"] == {"chat": 7}


async def test_cursor_stands_before_the_first_event(hub: Hub) -> None:
    """A stream that begins there sees the generation from its first event."""
    await hub.publish(to={"user": "alice"}, data="before")
    started = await start(hub)
    await begin(hub, started["generation"])
    async with hub.stream(f"/sse/connect/alice?cursor={started['cursor']}") as stream:
        assert (await stream.next()).name == "generation.started"


@pytest.mark.parametrize("by_header", [True, False])
async def test_idempotency_key_joins(hub: Hub, by_header: bool) -> None:
    """The same key, in the body or the header, is the same generation."""
    first = await start(hub, id="k")
    more: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}} if by_header else {}
    body = {"prompt": "hi"} if by_header else {"prompt": "hi", "id": "k"}
    assert await hub.call("POST", f"/generations{ALICE}", json=body, **more) == (202, first)


async def test_stopped_while_queued_never_begins(hub: Hub) -> None:
    """DELETE ends it here, with the one end event; a second DELETE finds it ended."""
    started = await start(hub)
    path = f"/generations/{started['generation']}{ALICE}"
    async with hub.stream("/sse/connect/alice") as stream:
        assert (await hub.call("DELETE", path))[0] == 202
        event = await stream.next()
    assert event.name == "generation.stopped"
    said = json.loads(event.data)
    assert said.pop("seconds").keys() == {"queued", "first_delta", "total"}
    by = {"by": "alice", "deltas": 0, "usage": None}
    assert said == {"generation": started["generation"], **by}
    assert await hub.call("DELETE", path) == (
        200,
        {"generation": started["generation"], "status": "already ended"},
    )
    assert (await hub.call("GET", path))[1]["status"] == "stopped"


async def test_stop_while_running_is_announced(hub: Hub) -> None:
    """The wish lasts in the record; the end is the worker's to write."""
    started = await start(hub)
    await begin(hub, started["generation"])
    status, answer = await hub.call("DELETE", f"/generations/{started['generation']}{ALICE}")
    assert (status, answer["status"]) == (202, "stopping")
    found = await hub.backend.generations.find(started["generation"])
    assert found is not None
    assert (found.status, found.stop_requested_by) == (Status.STOPPING, "alice")


async def test_restart_asks_the_same_anew(hub: Hub) -> None:
    """Another generation of the same question; the queued one is stopped."""
    started = await start(hub, prompt="again")
    status, again = await hub.call("POST", f"/generations/{started['generation']}/restart{ALICE}")
    assert status == 202
    assert again["generation"] != started["generation"]
    _, old = await hub.call("GET", f"/generations/{started['generation']}{ALICE}")
    _, new = await hub.call("GET", f"/generations/{again['generation']}{ALICE}")
    assert (old["status"], new["status"]) == ("stopped", "queued")
    assert new["messages"] == old["messages"]


async def test_restart_of_the_same_key_is_one(hub: Hub) -> None:
    """A client that did not hear the answer asks again, and has the same generation."""
    started = await start(hub, prompt="again")
    url = f"http://127.0.0.1:{hub.port}/generations/{started['generation']}/restart{ALICE}"
    found = []
    for key in ("k", "k", "other"):
        async with hub.session.post(url, headers={"Idempotency-Key": key}) as answer:
            assert answer.status == 202
            found.append((await answer.json())["generation"])
    assert found[0] == found[1] != found[2]
    async with hub.session.post(url, headers={"Idempotency-Key": "x" * 300}) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_anothers_generation_is_forbidden(hub: Hub, method: str) -> None:
    """403 for another user, 404 for what there is not."""
    started = await start(hub)
    tail = "/restart" if method == "POST" else ""
    path = f"/generations/{started['generation']}{tail}"
    assert (await hub.call(method, f"{path}?user=bob"))[0] == 403
    assert (await hub.call(method, f"/generations/g00{'x' * 16}{tail}{ALICE}"))[0] == 404
    assert (await hub.call(method, f"/generations/nonsense{tail}{ALICE}"))[0] == 404


@pytest.mark.parametrize(
    ("body", "path", "says"),
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
async def test_bad_question(hub: Hub, body: dict[str, Any], path: str, says: str) -> None:
    """400 with the field's path; nothing is queued."""
    status, problem = await hub.call("POST", f"/generations{ALICE}", json=body)
    assert (status, problem["path"]) == (400, path)
    assert says in problem["detail"]
    assert await hub.backend.queue.reserve(0.001) is None


async def test_too_large_question(hub: Hub) -> None:
    """413."""
    body = {"prompt": "x" * MAX_BODY}
    assert (await hub.call("POST", f"/generations{ALICE}", json=body))[0] == 413


async def test_broker_away(hub: Hub) -> None:
    """503, and nothing is queued."""
    hub.backend.is_unavailable = True
    assert (await hub.call("POST", f"/generations{ALICE}", json={"prompt": "x"}))[0] == 503
    assert await hub.backend.queue.reserve(0.001) is None
