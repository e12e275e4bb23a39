"""DELETE /v1/responses/{id}, and the routes of the Responses API that the hub refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.core.generation import Status
from tests.api.test_authentication import AUTHENTICATOR, token
from tests.compat.test_openresponses import ask
from tests.compat.test_routes import Worker
from tests.doubles import until
from tests.http.kit import Hub, running_hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


async def test_deleted_response_is_gone_everywhere(hub: Hub) -> None:
    """No route has it any more, and no request can continue it or one of its items."""
    response = await ask(hub, "/v1/responses", {"input": "hi"})
    path = f"/v1/responses/{response['id']}"
    deleted = {"id": response["id"], "object": "response.deleted", "deleted": True}
    assert await hub.call("DELETE", path) == (200, deleted)
    generation = response["id"].removeprefix("resp_")
    for method, route in (
        ("GET", path),
        ("GET", f"{path}/input_items"),
        ("GET", f"{path}?stream=true"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
        ("GET", f"/generations/{generation}?user=dev"),
    ):
        assert (await hub.call(method, route))[0] == 404, route
    item = {"type": "item_reference", "id": response["output"][0]["id"]}
    for body in ({"input": "x", "previous_response_id": response["id"]}, {"input": [item]}):
        status, document = await hub.call("POST", "/v1/responses", json={"model": "m1", **body})
        assert (status, document["error"]["code"]) == (400, "previous_response_not_found")


async def test_running_response_is_stopped_first(hub: Hub) -> None:
    """The request waits for the end of the generation."""
    worker = Worker(hub)
    body = {"model": "m1", "input": "hi", "background": True}
    _, response = await hub.call("POST", "/v1/responses", json=body)
    await worker.take()
    call = asyncio.create_task(hub.call("DELETE", f"/v1/responses/{response['id']}"))
    records = hub.backend.generations.records
    await until(lambda: records[worker.id].stop_requested_by == "dev")
    await worker.end(Status.STOPPED, by="dev")
    assert (await call)[0] == 200
    assert not records


async def test_queued_response_is_deleted_at_once(hub: Hub) -> None:
    """No worker has to be there."""
    body = {"model": "m1", "input": "hi", "background": True}
    _, response = await hub.call("POST", "/v1/responses", json=body)
    assert (await hub.call("DELETE", f"/v1/responses/{response['id']}"))[0] == 200
    assert not hub.backend.generations.records


async def test_response_that_does_not_stop_is_a_conflict(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that a worker still writes is not deleted; the SDK repeats the request."""
    monkeypatch.setattr("hub.compat.openai_responses.routes._CANCEL_TIMEOUT_SECONDS", 0.0)
    worker = Worker(hub)
    body = {"model": "m1", "input": "hi", "background": True}
    _, response = await hub.call("POST", "/v1/responses", json=body)
    await worker.take()
    status, document = await hub.call("DELETE", f"/v1/responses/{response['id']}")
    assert (status, document["error"]["code"]) == (409, "response_not_finished")
    assert worker.id in hub.backend.generations.records


async def test_names_that_are_no_response_of_the_user() -> None:
    """Another user's response stays, and a name that is none is not found."""
    async with running_hub(AUTHENTICATOR) as hub:
        alice, bob = ({"Authorization": f"Bearer {token(sub=user)}"} for user in ("alice", "bob"))
        worker = Worker(hub)
        body = {"model": "m1", "input": "hi", "background": True}
        _, response = await hub.call("POST", "/v1/responses", json=body, headers=alice)
        await worker.take()
        await worker.end()
        path = f"/v1/responses/{response['id']}"
        assert (await hub.call("DELETE", path, headers=bob))[0] == 403
        assert (await hub.call("DELETE", path))[0] == 401
        for name in ("resp_", "resp_x", "msg_1", "resp_g00aaaaaaaaaaaaaaaa"):
            assert (await hub.call("DELETE", f"/v1/responses/{name}", headers=bob))[0] == 404
        assert (await hub.call("GET", path, headers=alice))[0] == 200


async def test_counting_tokens_is_refused(hub: Hub) -> None:
    """One sentence says why, and no status makes the SDK repeat the request."""
    body = {"model": "m1", "input": "hi"}
    status, document = await hub.call("POST", "/v1/responses/input_tokens", json=body)
    assert (status, document["error"]["code"]) == (400, "unsupported_operation")
