"""The routes of Anthropic's API: access, answers, errors and what its clients send besides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from hub.core.generation import Status
from hub.core.sse_decoder import SseDecoder
from hub.error_codes import ERROR_CODES
from tests.api.test_authentication import AUTHENTICATOR, token
from tests.compat.test_routes import Worker
from tests.http.kit import LIMITS, Hub, running_hub

PATH = "/v1/messages"
ASK = {"model": "m1", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


async def begin(hub: Hub, **fields: Any) -> tuple[Worker, asyncio.Task[aiohttp.ClientResponse]]:
    """Send a request; return the worker that answers it, and the response to come."""
    worker = Worker(hub)
    response = asyncio.create_task(hub.ask("POST", PATH, json={**ASK, **fields}).__aenter__())
    await worker.take()
    return worker, response


async def test_whole_message(hub: Hub) -> None:
    """The response names the answer as the hub's own routes do, and as Anthropic's SDKs expect."""
    worker, waiting = await begin(hub)
    await worker.send_text("Hey")
    await worker.end()
    response = await waiting
    message = await response.json()
    assert (response.status, response.headers["Location"]) == (200, f"/generations/{worker.id}")
    assert response.headers["request-id"] == f"req_{worker.id}"
    assert message["content"] == [{"type": "text", "text": "Hey"}]
    assert message["id"] == f"msg_{worker.id}"


async def test_stream(hub: Hub) -> None:
    """The events have their names, and the body ends after the last one."""
    worker, waiting = await begin(hub, stream=True)
    await worker.send_text("Hey")
    await worker.end()
    response = await waiting
    events = SseDecoder().feed(await response.read())
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert response.headers["request-id"] == f"req_{worker.id}"
    assert [event.name for event in events] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]


async def test_heartbeats_are_pings() -> None:
    """While nothing comes, the client gets the event that Anthropic's API sends."""
    limits = msgspec.structs.replace(LIMITS, heartbeat_seconds=0.01, min_heartbeat_seconds=0.01)
    async with running_hub(limits=limits) as hub:
        worker, waiting = await begin(hub, stream=True)
        response = await waiting
        (connection,) = hub.node.connections.connections
        connection.send_heartbeat(hub.node.clock.now())
        await worker.end()
        events = SseDecoder().feed(await response.read())
    assert [event.name for event in events if event.name != "ping"] == [
        *("message_start", "message_delta", "message_stop"),
    ]
    assert {event.data for event in events if event.name == "ping"} == {'{"type":"ping"}'}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", PATH, {}, 400, "invalid_request_error"),
        ("POST", PATH, {**ASK, "model": "m9"}, 400, "invalid_request_error"),
        ("POST", PATH, {**ASK, "messages": []}, 400, "invalid_request_error"),
        ("POST", PATH, {**ASK, "on_disconnect": "x"}, 400, "invalid_request_error"),
        ("POST", PATH, {**ASK, "system": "x" * 70_000}, 413, "request_too_large"),
        ("POST", f"{PATH}?heartbeat=x", ASK, 400, "invalid_request_error"),
        ("POST", f"{PATH}/count_tokens?beta=true", ASK, 400, "invalid_request_error"),
        ("POST", f"{PATH}/batches", ASK, 404, "not_found_error"),
        ("GET", PATH, None, 405, "invalid_request_error"),
    ],
)
async def test_refusals_have_anthropics_form(
    hub: Hub, method: str, path: str, body: Any, status: int, kind: str
) -> None:
    """Every error of these routes has Anthropic's form, and a request id."""
    async with hub.ask(method, path, json=body) as response:
        assert (response.status, response.content_type) == (status, "application/json")
        document = await response.json()
        assert response.headers["request-id"] == document["request_id"]
    assert (document["type"], document["error"]["type"]) == ("error", kind)
    assert document["error"]["message"]
    assert document["error"]["code"] in ERROR_CODES


async def test_threads_are_refused_as_the_sdks_expect(hub: Hub) -> None:
    """A client that sends only what is new would otherwise lose the conversation."""
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        status, answer = await hub.call("POST", PATH, json={**ASK, "thread": thread})
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
        assert answer["error"]["details"]["error_code"] == "thread_unsupported_request"


async def test_node_that_drains_is_overloaded(hub: Hub) -> None:
    """Anthropic's clients know 529 and not 503, and come back after Retry-After."""
    await hub.node.connections.drain(0.0, asyncio.Event())
    async with hub.ask("POST", PATH, json=ASK) as response:
        assert (response.status, response.headers["Retry-After"]) == (529, "1")
        assert (await response.json())["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("end", "status", "kind"),
    [
        ({"code": "upstream_truncated", "message": "broke off"}, 500, "api_error"),
        ({"code": "upstream_timeout", "message": "silent"}, 504, "timeout_error"),
        ({"code": "upstream_unsupported", "message": "x"}, 400, "invalid_request_error"),
        ({"code": "queue_timeout", "message": "no worker"}, 529, "overloaded_error"),
        ({"code": "upstream_status", "message": "x", "upstream_status": 400}, 400, None),
        ({"code": "upstream_status", "message": "x", "upstream_status": 401}, 500, "api_error"),
        ({"code": "upstream_status", "message": "x", "upstream_status": 404}, 404, None),
        ({"code": "upstream_status", "message": "x", "upstream_status": 413}, 413, None),
        ({"code": "upstream_status", "message": "x", "upstream_status": 429}, 429, None),
        ({"code": "upstream_status", "message": "x", "upstream_status": 529}, 529, None),
    ],
)
async def test_failure_before_the_answer_has_a_status(
    hub: Hub, stream: bool, end: dict[str, Any], status: int, kind: str | None
) -> None:
    """A failure has its status, also instead of a stream, and SDKs do not repeat the request."""
    worker, waiting = await begin(hub, stream=stream)
    await worker.end(Status.FAILED, **end)
    response = await waiting
    document = await response.json()
    assert (response.status, response.headers["x-should-retry"]) == (status, "false")
    assert document["request_id"] == response.headers["request-id"] == f"req_{worker.id}"
    assert kind in (None, document["error"]["type"])


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (Status.FAILED, {"code": "upstream_truncated", "message": "broke off"}),
        (Status.STOPPED, {"by": "dev"}),
    ],
)
async def test_stream_that_fails_halfway_is_cut(
    hub: Hub, status: Status, end: dict[str, Any]
) -> None:
    """The event `error` is the last one, and the body has no end."""
    worker, waiting = await begin(hub, stream=True)
    await worker.send_text("half")
    response = await waiting
    await worker.end(status, **end)
    received = b""
    with pytest.raises(aiohttp.ClientPayloadError):
        async for chunk in response.content.iter_any():
            received += chunk
    response.close()
    event = SseDecoder().feed(received)[-1]
    assert event.name == "error"
    assert json.loads(event.data)["error"]["message"]


async def test_token_is_the_api_key() -> None:
    """The token comes as Anthropic's clients send a key, or as elsewhere, which comes first."""
    async with running_hub(AUTHENTICATOR) as hub:
        alice, bearer = {"x-api-key": token()}, {"Authorization": f"Bearer {token()}"}
        for headers, expected in (
            (None, (401, "authentication_error")),
            ({"x-api-key": ""}, (401, "authentication_error")),
            ({"x-api-key": "sk-ant-x"}, (401, "authentication_error")),
            ({"x-api-key": token(scope="hub:stream")}, (403, "permission_error")),
            ({**alice, "Authorization": "Bearer x"}, (401, "authentication_error")),
            ({**bearer, "x-api-key": "sk-ant-x"}, (400, "invalid_request_error")),
            (alice, (400, "invalid_request_error")),
        ):
            status, answer = await hub.call("POST", PATH, json={}, headers=headers)
            assert (status, answer["error"]["type"]) == expected
        status, _ = await hub.call("POST", f"{PATH}/count_tokens", json=ASK)
        assert status == 401


async def test_models_in_anthropics_form(hub: Hub) -> None:
    """A client that names its version gets the list and the model in Anthropic's form."""
    headers = {"anthropic-version": "2023-06-01"}
    _, page = await hub.call("GET", "/v1/models?limit=1000", headers=headers)
    model = {"type": "model", "display_name": "m1", "created_at": "1970-01-01T00:00:00Z"}
    assert page["data"][0] == {"id": "m1", **model}
    assert (page["first_id"], page["last_id"]) == ("m1", page["data"][-1]["id"])
    assert page["has_more"] is False
    assert (await hub.call("GET", "/v1/models/m1", headers=headers))[1] == {"id": "m1", **model}
    assert (await hub.call("GET", "/v1/models"))[1]["object"] == "list"
