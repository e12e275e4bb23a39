"""The routes under /v1: access, the requests that upstreams get, and errors."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from hub.api.json_decoding import convert_json, decode_json
from hub.compat.ag_ui.requests import RunAgentInput, to_request
from hub.compat.ai_sdk import requests as ai_sdk
from hub.compat.anthropic.requests import read_messages
from hub.compat.openai_chat import requests as openai_chat
from hub.compat.openai_responses import requests as openai_responses
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, TemplateEncoder
from hub.compat.templates.selection import TemplateSelection
from hub.core.channel import user_channel
from hub.core.event import encode_json
from hub.core.fair_queue import Admission, Job
from hub.core.generation import GenerationRequest, GenerationUpdate, Status, UpdateKind
from hub.core.parts_journal import PartsJournal
from hub.core.sse_decoder import SseDecoder
from hub.error_codes import ERROR_CODES
from hub.errors import CallerError
from hub.ports.events import Publication
from tests.api.test_authentication import AUTHENTICATOR, token
from tests.compat.history import RECORD
from tests.doubles import until
from tests.http.kit import LIMITS, Hub, Stream, running_hub
from tests.security.test_fuzz import AGUI, CHAT, MESSAGES, RESPONSE, UI, Mutator

HI = {"role": "user", "parts": [{"type": "text", "text": "hi"}]}
ASK = {"model": "m1", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


class Worker:
    """Publishes the events of the newest generation as a worker does."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._known: set[str] = set(hub.backend.generations.records)
        self.id = ""
        self._deltas = 0
        self._journal = PartsJournal()

    async def take(self) -> GenerationRequest:
        """Wait for the next generation and return its request."""
        generations = self._hub.backend.generations.records
        await until(lambda: bool(generations.keys() - self._known))
        (self.id,) = generations.keys() - self._known
        await self._write("started", GenerationUpdate(self.id, 1, UpdateKind.BEGIN), attempt=1)
        return generations[self.id].request

    async def send_text(self, text: str) -> None:
        await self.send_delta(text=text)

    async def send_delta(self, **fields: Any) -> None:
        """Publish a delta with text, reasoning or tool calls."""
        await self._send("delta", fields)

    async def send_part(self, **fields: Any) -> None:
        """Publish a part of another type."""
        await self._send("part", fields)

    async def _send(self, name: str, fields: dict[str, Any]) -> None:
        entries = self._journal.append((f"generation.{name}", fields))
        step = GenerationUpdate(self.id, 1, UpdateKind.DELTA, index=self._deltas, entries=entries)
        await self._write(name, step, i=self._deltas, **fields)
        self._deltas += 1

    async def end(self, status: Status = Status.DONE, **fields: Any) -> None:
        step = GenerationUpdate(self.id, 1, UpdateKind.END, status)
        await self._write(status.value, step, **(fields or {"finish_reason": "stop"}))

    async def _write(self, name: str, step: GenerationUpdate, /, **fields: Any) -> None:
        record = self._hub.backend.generations.records[self.id]
        data = encode_json({"generation": self.id, **fields})
        publication = Publication(
            channel=user_channel(record.user), name=f"generation.{name}", data=data, update=step
        )
        await self._hub.backend.events.publish([publication])


async def request_answer(
    hub: Hub, path: str, body: Any, *sentences: str
) -> tuple[GenerationRequest, int, Any]:
    """Send a request and answer it; return the worker's request, the status and the body."""
    worker = Worker(hub)
    call = asyncio.create_task(hub.call("POST", path, json=body))
    request = await worker.take()
    for text in sentences:
        await worker.send_text(text)
    await worker.end()
    status, answer = await call
    return request, status, answer


async def read_data(stream: Stream) -> list[str]:
    """Return the data of all events until the end of the stream."""
    values = []
    while True:
        try:
            values.append((await stream.next()).data)
        except EOFError:
            return values


async def test_chat_request_reaches_the_upstream_unchanged(hub: Hub) -> None:
    """Messages, tools and unknown parameters reach the upstream; the hub's own fields do not."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "x:y"}}]
    body = {
        **ASK,
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "enable_thinking": True,
        "temperature": None,
        "stream": False,
        "metadata": {"a": "b"},
        "user": "u",
    }
    request, status, answer = await request_answer(hub, "/v1/chat/completions", body, "He", "y")
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "Hey")
    assert (request.upstream, request.model, request.metadata) == ("main", "m1", {"a": "b"})
    assert [(m.role, m.content, m.tool_calls, m.tool_call_id) for m in request.messages] == [
        ("developer", "be brief", None, None),
        ("user", parts, None, None),
        ("assistant", None, [call], None),
        ("tool", "7", None, "c1"),
    ]
    assert request.params == {
        "tools": body["tools"],
        "tool_choice": "auto",
        "enable_thinking": True,
        "user": "u",
    }


@pytest.mark.parametrize(
    ("model", "expected"),
    [("m2", ("main", "m2")), ("open/any", ("open", "any")), ("main/m2", ("main", "m2"))],
)
async def test_model_names_its_upstream(hub: Hub, model: str, expected: tuple[str, str]) -> None:
    """A model selects its upstream, alone or with the upstream's name as a prefix."""
    request, _, _ = await request_answer(hub, "/v1/chat/completions", {**ASK, "model": model})
    assert (request.upstream, request.model) == expected


async def test_model_with_an_escaped_slash(hub: Hub) -> None:
    """SDKs escape the slash in the name of a model."""
    for name in ("m1", "main/m1", "main%2Fm1", "main%2fm2"):
        url = URL(f"http://127.0.0.1:{hub.port}/v1/models/{name}", encoded=True)
        async with hub.session.get(url) as response:
            model = await response.json()
            assert (response.status, model["owned_by"]) == (200, "main"), name
            assert model["id"] == name.replace("%2F", "/").replace("%2f", "/")
    for name in ("main%2Fm9", "other%2Fm1", "open%2Fm1", "%2Fm1"):
        url = URL(f"http://127.0.0.1:{hub.port}/v1/models/{name}", encoded=True)
        async with hub.session.get(url) as response:
            assert response.status == 404, name


async def test_models_are_listed(hub: Hub) -> None:
    """The models of the upstreams are listed, and each can be read."""
    _, listed = await hub.call("GET", "/v1/models")
    owners = [("m1", "main"), ("m2", "main"), ("support", "support")]
    assert [(model["id"], model["owned_by"]) for model in listed["data"]] == owners
    assert (await hub.call("GET", "/v1/models/m2"))[1]["id"] == "m2"
    assert (await hub.call("GET", "/v1/models/m3"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/v1/chat/completions", {}, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {**ASK, "n": 2}, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {**ASK, "logprobs": True}, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {**ASK, "model": "m9"}, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {**ASK, "on_disconnect": "x"}, 400, None),
        ("POST", "/v1/responses", {"input": "x", "previous_response_id": "r"}, 400, None),
        ("POST", "/v1/responses", {"input": "x", "previous_response_id": 7}, 400, None),
        ("POST", "/v1/responses", {"input": 7, "previous_response_id": "resp_x"}, 400, None),
        ("POST", "/v1/responses", {"input": "x", "conversation": "c"}, 400, None),
        ("POST", "/v1/completions", {"prompt": ["a", "b"]}, 400, None),
        ("POST", "/v1/completions", {"prompt": [1, 2]}, 400, None),
        ("POST", "/v1/completions", {"prompt": ""}, 400, None),
        ("POST", "/v1/completions", {"prompt": "a", "n": 2}, 400, None),
        ("POST", "/v1/completions", {"prompt": "a", "best_of": 2}, 400, None),
        ("POST", "/v1/completions", {"prompt": "a", "echo": True}, 400, None),
        ("POST", "/v1/completions", {"prompt": "a", "suffix": "b"}, 400, None),
        ("GET", "/v1/responses/resp_x/input_items", None, 404, "not_found_error"),
        ("POST", "/v1/responses", {"input": "x", "top_logprobs": 2}, 400, None),
        ("POST", "/v1/responses", {"input": [{"type": "web_search_call"}]}, 400, None),
        ("GET", "/v1/responses/resp_x", None, 404, "not_found_error"),
        ("GET", "/v1/responses/x", None, 404, "not_found_error"),
        ("GET", "/v1/responses/resp_x?stream=1&starting_after=-1", None, 400, None),
        (
            "POST",
            "/v1/responses",
            {"input": "x", "background": True, "on_disconnect": "stop"},
            400,
            None,
        ),
        ("POST", "/v1/ui/chat", {"messages": []}, 400, None),
        ("POST", "/v1/ui/chat", {"messages": [HI], "tools": [{"name": "f"}]}, 400, None),
        ("POST", "/v1/ui/chat", {"messages": [HI], "tools": {"f": "x"}}, 400, None),
        ("POST", "/v1/ui/chat", {"messages": [HI], "tools": {"f": {"parameters": 1}}}, 400, None),
        ("POST", "/v1/ui/chat", {"messages": [{"role": "x"}]}, 400, None),
        ("GET", "/v1/ui/chat/c/stream?startIndex=x", None, 400, None),
        ("GET", "/v1/ui/chat/c/stream?startIndex=12345678901234567890x", None, 400, None),
        ("POST", "/v1/agui", {"threadId": "t"}, 400, None),
        ("GET", "/v1/nothing", None, 404, "not_found_error"),
        ("GET", "/v1/chat/completions", None, 405, "invalid_request_error"),
    ],
)
async def test_refusals_have_openais_form(
    hub: Hub, method: str, path: str, body: Any, status: int, kind: str | None
) -> None:
    """Every error of these routes has OpenAI's form, never that of a problem document."""
    async with hub.ask(method, path, json=body) as response:
        assert response.status == status
        assert response.content_type == "application/json"
        error = (await response.json())["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert error["code"] in ERROR_CODES
        assert kind in (None, error["type"])


async def test_token_is_the_api_key() -> None:
    """A request without a token gets 401; another user's answer gets 403."""
    async with running_hub(AUTHENTICATOR) as hub:
        status, answer = await hub.call("POST", "/v1/chat/completions", json=ASK)
        assert (status, answer["error"]["type"]) == (401, "authentication_error")
        alice, bob = ({"Authorization": f"Bearer {token(sub=user)}"} for user in ("alice", "bob"))
        body = {"model": "m1", "input": "hi", "background": True}
        _, response = await hub.call("POST", "/v1/responses", json=body, headers=alice)
        path = f"/v1/responses/{response['id']}"
        assert (await hub.call("GET", path, headers=alice))[1]["status"] == "queued"
        status, answer = await hub.call("GET", path, headers=bob)
        assert (status, answer["error"]["type"]) == (403, "permission_error")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ({"code": "upstream_truncated", "message": "broke off"}, 502),
        ({"code": "upstream_timeout", "message": "silent"}, 504),
        ({"code": "upstream_unsupported", "message": "no audio there"}, 400),
        ({"code": "upstream_status", "message": "429", "upstream_status": 429}, 429),
        ({"code": "queue_timeout", "message": "no worker"}, 503),
        ({"code": "upstream_status", "message": "long", "upstream_status": 400}, 400),
        ({"code": "upstream_status", "message": "unknown", "upstream_status": 404}, 404),
        ({"code": "upstream_status", "message": "large", "upstream_status": 413}, 413),
        ({"code": "upstream_error", "message": "schema", "upstream_status": 422}, 422),
        ({"code": "upstream_status", "message": "the hub's key", "upstream_status": 401}, 502),
        ({"code": "upstream_status", "message": "the hub's key", "upstream_status": 403}, 502),
        ({"code": "upstream_status", "message": "broken", "upstream_status": 500}, 502),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_failure_has_a_status_for_a_waiting_client(
    hub: Hub, path: str, end: dict[str, Any], status: int
) -> None:
    """A failure has a status, and tells SDKs not to retry because the hub already did."""
    worker = Worker(hub)
    call = hub.ask("POST", path, json={**ASK, "input": "hi"})
    waiting = asyncio.create_task(call.__aenter__())
    await worker.take()
    await worker.send_text("half")
    await worker.end(Status.FAILED, **end)
    response = await waiting
    assert (response.status, response.headers["x-should-retry"]) == (status, "false")
    assert (await response.json())["error"]["code"] == end["code"]


_REFUSAL = {
    "code": "upstream_status",
    "message": "the upstream answered 400: too long",
    "upstream_status": 400,
    "upstream_code": "context_length_exceeded",
    "upstream_param": "messages",
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_mistake_of_the_caller_is_not_a_fault_of_the_server(
    hub: Hub, path: str, stream: bool
) -> None:
    """The upstream's refusal arrives with its status, code and field, also instead of a stream."""
    worker = Worker(hub)
    body = {**ASK, "input": "hi", "stream": stream}
    waiting = asyncio.create_task(hub.ask("POST", path, json=body).__aenter__())
    await worker.take()
    await worker.end(Status.FAILED, **_REFUSAL)
    response = await waiting
    assert (response.status, response.headers["x-should-retry"]) == (400, "false")
    assert await response.json() == {
        "error": {
            "message": _REFUSAL["message"],
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    }


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize(
    ("status", "end", "expected"),
    [
        (Status.FAILED, {"code": "upstream_unreachable", "message": "away"}, 502),
        (Status.FAILED, {"code": "upstream_timeout", "message": "silent"}, 504),
        (Status.STOPPED, {"by": "dev"}, 409),
    ],
)
async def test_stream_that_fails_before_it_begins_has_a_status(
    hub: Hub, path: str, status: Status, end: dict[str, Any], expected: int
) -> None:
    """While nothing was sent, a failure is an HTTP status: clients raise it as one."""
    worker = Worker(hub)
    body = {**ASK, "input": "hi", "stream": True}
    waiting = asyncio.create_task(hub.ask("POST", path, json=body).__aenter__())
    await worker.take()
    await worker.end(status, **end)
    response = await waiting
    assert (response.status, response.content_type) == (expected, "application/json")
    assert response.headers["x-should-retry"] == "false"


async def test_stream_that_fails_halfway_is_cut(hub: Hub) -> None:
    """The error event is the last one: no `[DONE]`, and the body has no end."""
    for status, end in (
        (Status.FAILED, {"code": "upstream_truncated", "message": "broke off"}),
        (Status.STOPPED, {"by": "dev"}),
    ):
        worker = Worker(hub)
        call = hub.ask("POST", "/v1/chat/completions", json={**ASK, "stream": True})
        waiting = asyncio.create_task(call.__aenter__())
        await worker.take()
        await worker.send_text("half")
        response = await waiting
        assert response.status == 200
        await worker.end(status, **end)
        received = b""
        with pytest.raises(aiohttp.ClientPayloadError):
            async for chunk in response.content.iter_any():
                received += chunk
        response.close()
        events = SseDecoder().feed(received)
        assert "half" in events[-2].data
        assert json.loads(events[-1].data)["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", ASK),
        ("/v1/completions", {"model": "m1", "prompt": "hi"}),
        ("/v1/responses", {"model": "m1", "input": "hi"}),
        ("/v1/messages", ASK),
    ],
)
async def test_stream_that_waits_for_its_answer_is_one_connection(
    hub: Hub, path: str, body: dict[str, Any]
) -> None:
    """It is opened once, keeps its place in the log, and gets what was sent while it waited."""
    worker = Worker(hub)
    body = {**body, "stream": True}
    with structlog.testing.capture_logs() as logs:
        waiting = asyncio.create_task(hub.ask("POST", path, json=body).__aenter__())
        await worker.take()
        await until(lambda: len(hub.node.connections) == 1)
        for text in ("one ", "two ", "three"):
            await worker.send_text(text)
        await worker.end()
        stream = Stream(await waiting)
        received = "".join(await read_data(stream))
    assert [received.count(text) for text in ('"one "', '"two "', '"three"')] == [1, 1, 1]
    names = [line["event"] for line in logs if line["event"].startswith("connection.")]
    assert names == ["connection.opened", "connection.closed"]
    metrics = (await hub.metrics()).decode()
    assert 'hub_connections_opened_total{transport="sse"} 1.0' in metrics


async def test_stream_whose_answer_does_not_begin() -> None:
    """After the time of a heartbeat the headers are sent, and the answer follows them."""
    limits = msgspec.structs.replace(LIMITS, heartbeat_seconds=0.01, min_heartbeat_seconds=0.01)
    async with running_hub(limits=limits) as hub:
        worker = Worker(hub)
        call = hub.ask("POST", "/v1/chat/completions", json={**ASK, "stream": True})
        async with call as response:
            assert response.status == 200
            await worker.take()
            await worker.send_text("late")
            await worker.end()
            data = await read_data(Stream(response))
        assert ("late" in data[1], data[-1]) == (True, "[DONE]")


async def test_draining_node_cuts_a_stream_that_has_not_begun(hub: Hub) -> None:
    """The body has no end, so that the client does not take it for an empty answer."""
    worker = Worker(hub)
    call = hub.ask("POST", "/v1/chat/completions", json={**ASK, "stream": True})
    waiting = asyncio.create_task(call.__aenter__())
    await worker.take()
    await until(lambda: len(hub.node.connections) == 1)
    await hub.node.connections.drain(0.0, asyncio.Event())
    response = await waiting
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()


async def test_background_response_streams_its_id_at_once(hub: Hub) -> None:
    """A client that resumes needs the id before the answer begins, so nothing waits for it."""
    worker = Worker(hub)
    body = {"model": "m1", "input": "hi", "background": True, "stream": True}
    async with hub.ask("POST", "/v1/responses", json=body) as response:
        created = await Stream(response).next()
        await worker.take()
        assert json.loads(created.data)["response"]["id"] == f"resp_{worker.id}"


async def test_stopped_answer_is_not_complete(hub: Hub) -> None:
    """A stopped chat completion gets 409; a stopped response has the status `cancelled`."""
    for path, expected in (("/v1/chat/completions", 409), ("/v1/responses", 200)):
        worker = Worker(hub)
        call = asyncio.create_task(hub.call("POST", path, json={**ASK, "input": "hi"}))
        await worker.take()
        await worker.send_text("half")
        await worker.end(Status.STOPPED, by="dev")
        status, answer = await call
        assert status == expected
        assert "cancelled" in (answer.get("status"), "cancelled" if expected == 409 else None)


async def test_completion_of_a_prompt(hub: Hub) -> None:
    """The older API gets text and usage, whole and as chunks; the LLM gets a message."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    for stream in (False, True):
        worker = Worker(hub)
        body = {"model": "m1", "prompt": ["hi"], "max_tokens": 5, "stream": stream}
        body["stream_options"] = {"include_usage": True}
        waiting = asyncio.create_task(hub.ask("POST", "/v1/completions", json=body).__aenter__())
        request = await worker.take()
        assert [(m.role, m.content) for m in request.messages] == [("user", "hi")]
        assert request.params == {"max_tokens": 5}
        await worker.send_delta(reasoning="hm")
        await worker.send_text("Hel")
        await worker.send_text("lo")
        await worker.end(finish_reason="length", usage=usage)
        response = await waiting
        if not stream:
            whole = await response.json()
            assert whole["choices"] == [
                {"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "length"}
            ]
            assert (whole["object"], whole["usage"]["total_tokens"]) == ("text_completion", 5)
            continue
        *chunks, end = await read_data(Stream(response))
        assert end == "[DONE]"
        decoded = [json.loads(chunk) for chunk in chunks]
        assert {chunk["id"] for chunk in decoded} == {f"cmpl-{worker.id}"}
        assert [choice["text"] for chunk in decoded for choice in chunk["choices"]] == [
            *("Hel", "lo", ""),
        ]
        assert decoded[-2]["choices"][0]["finish_reason"] == "length"
        assert decoded[-1]["usage"]["total_tokens"] == 5


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {"stream": True}),
        ("/v1/responses", {}),
        ("/v1/responses", {"stream": True}),
        ("/v1/responses", {"background": True}),
    ],
)
async def test_location_of_the_generation(hub: Hub, path: str, more: dict[str, Any]) -> None:
    """Each response to a request that starts an answer names the generation, which can be stopped
    there.
    """
    worker = Worker(hub)
    call = hub.ask("POST", path, json={**ASK, "input": "hi", **more})
    waiting = asyncio.create_task(call.__aenter__())
    await worker.take()
    await worker.send_text("hey")
    await worker.end()
    async with await waiting as response:
        assert response.headers["Location"] == f"/generations/{worker.id}"


async def test_tools_of_codex(hub: Hub) -> None:
    """Functions of a namespace are flat for the LLM and grouped for the client; hosted and custom
    tools are left out and logged.
    """
    search = {"type": "function", "name": "search", "parameters": {"type": "object"}}
    tools = [
        {"type": "function", "name": "shell", "strict": False, "description": "d"},
        {"type": "namespace", "name": "mcp__docs", "description": "d", "tools": [search]},
        {"type": "web_search"},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
        {"type": "namespace", "name": "broken", "tools": None},
    ]
    earlier = {"type": "function_call", "call_id": "c0", "name": "search", "arguments": "{}"}
    given = [{"role": "user", "content": "x"}, {**earlier, "namespace": "mcp__docs"}]
    body = {"model": "m1", "tools": tools, "input": given, "stream": True}
    worker = Worker(hub)
    with structlog.testing.capture_logs() as logs:
        waiting = asyncio.create_task(hub.ask("POST", "/v1/responses", json=body).__aenter__())
        request = await worker.take()
    assert [tool["function"]["name"] for tool in request.params["tools"]] == [
        *("shell", "mcp__docs__search"),
    ]
    (line,) = (line for line in logs if line["event"] == "responses.tools_left_out")
    assert line["types"] == ["custom", "namespace", "web_search"]
    (called,) = request.messages[1].tool_calls or [{}]
    assert called["function"]["name"] == "mcp__docs__search"
    assert "namespace" not in called
    for n, name in enumerate(("mcp__docs__search", "shell")):
        function = {"name": name, "arguments": "{}"}
        await worker.send_delta(tool_calls=[{"index": n, "id": f"c{n}", "function": function}])
    await worker.end(finish_reason="tool_calls")
    events = [json.loads(data) for data in await read_data(Stream(await waiting))]
    output = events[-1]["response"]["output"]
    assert [(item["name"], item.get("namespace")) for item in output] == [
        ("search", "mcp__docs"),
        ("shell", None),
    ]
    assert {event["name"] for event in events if event["type"].endswith("arguments.done")} == {
        *("search", "shell"),
    }


async def test_tools_of_assistant_ui(hub: Hub) -> None:
    """The `tools` object of a chat reaches the LLM, after the tools of `params`."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    given = {"type": "function", "function": {"name": "time"}}
    body = {
        "messages": [HI],
        "model": "m1",
        "params": {"tools": [given]},
        "tools": {
            "weather": {"description": "the weather", "parameters": schema},
            "other": {"inputSchema": schema},
            "bare": {},
        },
    }
    worker = Worker(hub)
    waiting = asyncio.create_task(hub.ask("POST", "/v1/ui/chat", json=body).__aenter__())
    request = await worker.take()
    await worker.end()
    (await waiting).close()
    assert [tool["function"] for tool in request.params["tools"]] == [
        {"name": "time"},
        {"name": "weather", "description": "the weather", "parameters": schema},
        {"name": "other", "parameters": schema},
        {"name": "bare"},
    ]


async def test_only_hosted_tools_are_no_tools(hub: Hub) -> None:
    """Without a function the LLM gets neither tools nor a choice of them."""
    body = {"input": "x", "tools": [{"type": "web_search"}], "tool_choice": "auto"}
    request, status, _ = await request_answer(hub, "/v1/responses", body)
    assert (status, request.params) == (200, {})


async def test_resume_from_the_body_of_a_get(hub: Hub) -> None:
    """OpenAI's SDK for Go sends `stream` and `starting_after` in a body; the URL has precedence."""
    worker = Worker(hub)
    _, response = await hub.call(
        "POST", "/v1/responses", json={"model": "m1", "input": "hi", "background": True}
    )
    await worker.take()
    await worker.send_text("Hey")
    await worker.end()
    path = f"/v1/responses/{response['id']}"
    for query, body, first in (
        ("", {"stream": True}, 0),
        ("", {"stream": True, "starting_after": 3}, 4),
        ("?stream=true", {"starting_after": 3}, 4),
        ("?stream=true&starting_after=1", {"starting_after": 3}, 2),
    ):
        async with hub.ask("GET", path + query, json=body) as streamed:
            assert streamed.content_type == "text/event-stream"
            (data, *_) = await read_data(Stream(streamed))
            assert json.loads(data)["sequence_number"] == first
    assert (await hub.call("GET", path, json={}))[1]["status"] == "completed"
    assert (await hub.call("GET", f"{path}?stream=false", json={"stream": True}))[0] == 200
    assert (await hub.call("GET", path, json={"stream": "yes"}))[0] == 400


async def test_input_items_of_a_response(hub: Hub) -> None:
    """They are what the LLM got, without the instructions, in pages of either order."""
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    image = {"type": "input_image", "image_url": "x:y"}
    body = {
        "model": "m1",
        "instructions": "be brief",
        "background": True,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, image]},
            {"role": "assistant", "content": "b"},
            call,
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
        ],
    }
    _, response = await hub.call("POST", "/v1/responses", json=body)
    path = f"/v1/responses/{response['id']}/input_items"
    _, page = await hub.call("GET", f"{path}?order=asc")
    assert [item["type"] for item in page["data"]] == [
        *("message", "message", "function_call", "function_call_output"),
    ]
    user, assistant, called, result = page["data"]
    assert user["content"] == [{"type": "input_text", "text": "a"}, {**image, "detail": "auto"}]
    assert assistant["content"][0]["text"] == "b"
    assert call.items() <= called.items()
    assert (result["call_id"], result["output"]) == ("c1", "7")
    assert not page["has_more"]
    _, newest = await hub.call("GET", f"{path}?limit=3")
    assert newest["data"] == [result, called, assistant]
    assert newest["has_more"]
    _, rest = await hub.call("GET", f"{path}?after={newest['last_id']}")
    assert rest["data"] == [user]
    for query in ("limit=0", "limit=101", "order=up", "after=x"):
        assert (await hub.call("GET", f"{path}?{query}"))[0] == 400


@pytest.mark.parametrize(("stream", "has_text"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("on_disconnect", ["continue", "stop"])
async def test_client_that_disconnects(
    hub: Hub, on_disconnect: str, stream: bool, has_text: bool
) -> None:
    """The answer continues after a disconnect, unless the request says `stop`: before a stream has
    begun, and afterwards.
    """
    worker = Worker(hub)
    body = {**ASK, "stream": stream, "on_disconnect": on_disconnect}
    call = hub.ask("POST", "/v1/chat/completions", json=body)
    waiting = asyncio.create_task(call.__aenter__())
    await worker.take()
    await until(lambda: len(hub.node.connections) == 1)
    if has_text:
        await worker.send_text("half")
        (await waiting).close()
    else:
        waiting.cancel()
    await until(lambda: len(hub.node.connections) == 0)
    if on_disconnect == "stop":
        await until(lambda: hub.backend.generations.records[worker.id].stop_requested_by == "dev")
    else:
        assert hub.backend.generations.records[worker.id].stop_requested_by is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**ASK, "stream": True}),
        ("/v1/chat/completions", ASK),
        ("/generations?user=dev", {"prompt": "hi"}),
    ],
)
async def test_client_that_disconnects_while_its_request_is_queued(
    hub: Hub, path: str, body: dict[str, Any]
) -> None:
    """A client that disconnects while its request is being queued stops its answer."""
    queued, put = asyncio.Event(), hub.backend.queue.enqueue

    async def slow_put(job: Job) -> Admission:
        admission = await put(job)
        queued.set()
        await asyncio.sleep(0.2)  # the way back from Redis, on which the caller leaves
        return admission

    hub.backend.queue.enqueue = slow_put  # type: ignore[method-assign]
    body = {**body, "on_disconnect": "stop"}
    call = hub.ask("POST", path, json=body, headers={"Accept": "text/event-stream"})
    waiting = asyncio.create_task(call.__aenter__())
    await queued.wait()
    waiting.cancel()
    (generation,) = hub.backend.generations.records
    await until(lambda: hub.backend.generations.records[generation].stop_requested_by == "dev")


async def test_same_idempotency_key_starts_one_generation(hub: Hub) -> None:
    """A repeated request, from an SDK's retry or a double click, starts nothing."""
    worker = Worker(hub)
    headers = {"Idempotency-Key": "k"}
    calls = [
        asyncio.create_task(hub.call("POST", "/v1/chat/completions", json=ASK, headers=headers))
        for _ in range(3)
    ]
    await worker.take()
    await until(lambda: len(hub.node.connections) == 3)
    await worker.send_text("once")
    await worker.end()
    ids = {answer["id"] for _, answer in await asyncio.gather(*calls)}
    assert ids == {f"chatcmpl-{worker.id}"}


async def test_draining_node_refuses_before_it_starts_anything(hub: Hub) -> None:
    """With a status that SDKs try again at, and nothing begun. Who waits is let go, and told not to
    ask again: the answer would be generated twice.
    """
    worker = Worker(hub)

    async def wait() -> tuple[int, Any, str | None]:
        async with hub.ask("POST", "/v1/chat/completions", json=ASK) as response:
            again = response.headers.get("x-should-retry")
            return response.status, await response.json(), again

    waiting = asyncio.create_task(wait())
    await worker.take()
    await until(lambda: len(hub.node.connections) == 1)
    await hub.node.connections.drain(0.0, asyncio.Event())
    status, answer, again = await waiting
    assert (status, worker.id in answer["error"]["message"], again) == (503, True, "false")
    records_before = len(hub.backend.generations.records)
    status, answer = await hub.call("POST", "/v1/responses", json={"model": "m1", "input": "hi"})
    assert (status, answer["error"]["type"]) == (503, "server_error")
    assert len(hub.backend.generations.records) == records_before


async def test_waiting_for_an_answer_whose_log_is_lost(hub: Hub) -> None:
    """The record still has the text of an answer whose log is lost."""
    worker = Worker(hub)
    call = asyncio.create_task(hub.call("POST", "/v1/chat/completions", json=ASK))
    await worker.take()
    await until(lambda: len(hub.node.connections) == 1)
    await worker.send_text("kept ")
    hub.backend.events.begin_new_epoch(user_channel("dev"))
    await worker.send_text("whole")
    await worker.end()
    _, answer = await call
    assert answer["choices"][0]["message"]["content"] == "kept whole"


async def test_responses_input_becomes_messages(hub: Hub) -> None:
    """Items, calls and outputs become messages; parameters get the names of chat completions."""
    body = {
        "model": "m1",
        "instructions": "be brief",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"},
                                         {"type": "input_image", "image_url": "x:y"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text",
                                                                  "text": "b"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 5,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "store": True,
    }  # fmt: skip
    request, status, answer = await request_answer(hub, "/v1/responses", body, "ok")
    assert (status, answer["output"][0]["content"][0]["text"]) == (200, "ok")
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    assert answer["tools"] == [{**tool, "description": None, "strict": None}]
    image = {"type": "image_url", "image_url": {"url": "x:y"}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert [(m.role, m.content, m.tool_calls, m.tool_call_id) for m in request.messages] == [
        ("system", "be brief", None, None),
        ("user", [{"type": "text", "text": "a"}, image], None, None),
        ("assistant", "b", [call], None),
        ("tool", "7", None, "c1"),
    ]
    assert request.params == {
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "max_tokens": 5,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }


async def test_ui_messages_become_messages(hub: Hub) -> None:
    """Text, files, tools and their results become messages; the answer continues the last one."""
    tool = {"type": "tool-f", "toolCallId": "c1", "input": {"a": 1}}
    body = {
        "messages": [
            {"id": "u1", "role": "user", "parts": [
                {"type": "text", "text": "see"},
                {"type": "file", "mediaType": "image/png", "url": "data:x"}]},
            {"id": "a1", "role": "assistant", "parts": [
                {"type": "step-start"}, {"type": "reasoning", "text": "hm"},
                {"type": "text", "text": "I look"},
                {**tool, "state": "output-available", "output": {"b": 2}},
                {**tool, "toolCallId": "c2", "state": "input-streaming"},
                {"type": "step-start"}, {"type": "data-generation", "data": {}}]},
        ],
        "system": "be brief", "params": {"temperature": 0}, "trigger": "submit-message",
    }  # fmt: skip
    worker = Worker(hub)
    async with hub.ask("POST", "/v1/ui/chat", json=body) as response:
        request = await worker.take()
        await worker.end()
        assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert response.headers["x-workflow-run-id"] == worker.id
        chunks = await read_data(Stream(response))
    assert json.loads(chunks[0])["messageId"] == "a1"
    assert chunks[-1] == "[DONE]"
    image = {"type": "image_url", "image_url": {"url": "data:x"}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    assert [(m.role, m.content, m.tool_calls, m.tool_call_id) for m in request.messages] == [
        ("system", "be brief", None, None),
        ("user", [{"type": "text", "text": "see"}, image], None, None),
        ("assistant", "I look", [call], None),
        ("tool", '{"b":2}', None, "c1"),
    ]
    assert request.params == {"temperature": 0}


def ui_body(chat: str) -> dict[str, Any]:
    """Return a body as useChat sends it."""
    return {"id": chat, "messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]}


async def test_chat_is_resumed_and_stopped_by_its_id(hub: Hub) -> None:
    """Every tab of the user can resume and stop; others, and a chat without a run, get 204."""
    worker = Worker(hub)
    async with hub.ask("POST", "/v1/ui/chat", json=ui_body("c1")) as first:
        await worker.take()
        await worker.send_text("a")
        async with (
            hub.ask("GET", "/v1/ui/chat/c1/stream") as second,
            hub.ask("GET", f"/v1/ui/chat/{worker.id}/stream?startIndex=3") as third,
        ):
            path = "/v1/ui/chat/c1"
            assert (await hub.call("GET", f"{path}/stream?user=bob"))[0] == 204
            assert (await hub.call("DELETE", path))[1]["generation"] == worker.id
            assert hub.backend.generations.records[worker.id].status is Status.STOPPING
            await worker.end(Status.STOPPED, by="dev")
            streams = [await read_data(Stream(each)) for each in (first, second, third)]
    assert streams[0] == streams[1]
    assert streams[2] == streams[0][3:]
    assert json.loads(streams[0][-2])["messageMetadata"]["status"] == "stopped"
    assert (await hub.call("GET", "/v1/ui/chat/c1/stream"))[0] == 204
    assert (await hub.call("DELETE", "/v1/ui/chat/c1"))[1]["status"] == "nothing runs"


async def test_resuming_by_index_always_gets_a_finish(hub: Hub) -> None:
    """A client that resumes by index gets a `finish` even if no run exists."""
    worker = Worker(hub)
    async with hub.ask("POST", "/v1/ui/chat", json=ui_body("c1")) as response:
        await worker.take()
        await worker.send_text("a")
        await worker.end()
        whole = await read_data(Stream(response))
    for index, rest in (("0", whole), ("4", whole[4:]), ("-2", whole[-3:]), ("99", ["[DONE]"])):
        async with hub.ask("GET", f"/v1/ui/chat/c1/stream?startIndex={index}") as response:
            assert await read_data(Stream(response)) == rest
            tail = response.headers.get("x-workflow-stream-tail-index")
            assert tail == (str(len(whole) - 2) if index == "-2" else None)
    async with hub.ask("GET", "/v1/ui/chat/other/stream?startIndex=0") as response:
        assert await read_data(Stream(response)) == ['{"type":"finish"}', "[DONE]"]


async def test_json_sent_as_text_is_refused_from_other_sites(hub: Hub) -> None:
    """JSON sent as text is accepted from stock clients but not from pages of other sites."""
    body, headers = json.dumps(ui_body("c1")), {"Content-Type": "text/plain;charset=UTF-8"}
    worker = Worker(hub)
    async with hub.ask("POST", "/v1/ui/chat", data=body, headers=headers) as response:
        assert response.status == 200
        await worker.take()
        await worker.end()
    evil = {**headers, "Origin": "https://evil.example"}
    assert (await hub.call("POST", "/v1/ui/chat", data=body, headers=evil))[0] == 403


async def test_agui_run(hub: Hub) -> None:
    """A run has messages, context, tools and props; a repeated request joins it."""
    body = {
        "threadId": "t", "runId": "r", "state": {},
        "messages": [
            {"id": "u1", "role": "user", "content": "hi"},
            {"id": "x", "role": "activity", "content": {}},
            {"id": "a1", "role": "assistant", "toolCalls": [{"id": "c1"}]},
            {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "7"},
        ],
        "tools": [{"name": "f", "description": "d", "parameters": {}}],
        "context": [{"description": "today", "value": "Monday"}],
        "forwardedProps": {"model": "m2", "params": {"temperature": 0}, "other": 1},
    }  # fmt: skip
    worker = Worker(hub)
    async with (
        hub.ask("POST", "/v1/agui", json=body) as first,
        hub.ask("POST", "/v1/agui", json=body) as second,
    ):
        request = await worker.take()
        await worker.send_text("hey")
        await worker.end()
        streams = [await read_data(Stream(each)) for each in (first, second)]
    assert streams[0] == streams[1]
    assert json.loads(streams[0][0]) == {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
    assert json.loads(streams[0][-1])["type"] == "RUN_FINISHED"
    assert [(m.role, m.content, m.tool_call_id) for m in request.messages] == [
        ("system", "today: Monday", None),
        ("user", "hi", None),
        ("assistant", None, None),
        ("tool", "7", "c1"),
    ]
    function = {"name": "f", "description": "d", "parameters": {}}
    tools = [{"type": "function", "function": function}]
    assert (request.model, request.params) == ("m2", {"temperature": 0, "tools": tools})


async def test_runs_are_distinct(hub: Hub) -> None:
    """Runs with any ids are distinct, and each starts one generation."""
    worker, message = Worker(hub), {"role": "user", "content": "hi"}
    runs = [("a", "b c"), ("a b", "c"), ("a", "b\nc"), ("a", "r" * 400)]
    for thread, run in runs:
        body = {"threadId": thread, "runId": run, "messages": [message]}
        async with hub.ask("POST", "/v1/agui", json=body), hub.ask("POST", "/v1/agui", json=body):
            pass
    assert len(hub.backend.generations.records.keys() - worker._known) == len(runs)


async def test_templates_on_an_answers_own_stream(hub: Hub) -> None:
    """`?shape=` selects the template for a new and for a joined answer; unknown names get 400."""
    worker = Worker(hub)
    path = "/generations?user=dev&shape=envelope"
    async with hub.ask("POST", path, json={"prompt": "hi"}) as first:
        await worker.take()
        async with hub.ask("GET", f"/generations/{worker.id}?user=dev&shape=cumulative") as second:
            await worker.send_text("a")
            await worker.send_text("b")
            await worker.end()
            assert await read_data(Stream(second)) == ["a", "ab", "[DONE]"]
        assert await read_data(Stream(first)) == [
            '{"code":200,"data":"a"}', '{"code":200,"data":"b"}', '{"code":-200}'
        ]  # fmt: skip
    records_before = len(hub.backend.generations.records)
    status, answer = await hub.call("POST", "/generations?user=dev&shape=x", json={"prompt": "hi"})
    assert (status, answer["path"]) == (400, "shape")
    assert len(hub.backend.generations.records) == records_before


@pytest.mark.parametrize(
    ("path", "accept", "template"),
    [
        ("/", "text/event-stream", "text"),
        ("/?shape=envelope", "text/event-stream", "envelope"),
        ("/?shape=envelope", "*/*", "envelope"),
        ("/?shape=events", "text/event-stream", None),
        ("/", "application/x-ndjson", None),
    ],
)
def test_default_template(path: str, accept: str, template: str | None) -> None:
    """The default template applies to event streams without `?shape=`, not to NDJSON."""
    request = make_mocked_request("GET", path, headers={"Accept": accept})
    new_encoder = TemplateSelection(BUILT_IN_TEMPLATES, default="text").select(request)
    if template is None:
        assert new_encoder is None
    else:
        encoder = new_encoder and new_encoder(RECORD)
        assert isinstance(encoder, TemplateEncoder)
        assert encoder.template is BUILT_IN_TEMPLATES[template]


def test_broken_bodies_are_refused_with_a_sentence() -> None:
    """A body is either accepted or refused with a sentence; it never makes the hub fail."""
    mutator = Mutator(7)

    def read_agui(raw: dict[str, Any]) -> None:
        body = convert_json(raw, RunAgentInput)
        to_request(body, body.props)

    cases: list[tuple[Callable[[dict[str, Any]], object], Any]] = [
        (openai_chat.read_chat, CHAT),
        (openai_responses.read_responses, RESPONSE),
        (read_messages, MESSAGES),
        (partial(read_messages, is_native=True), MESSAGES),
        (ai_sdk.read_chat, UI),
        (read_agui, AGUI),
    ]
    statuses = Counter[str]()
    for n in range(1500):
        for read, good in cases:
            body = mutator.broken(good)
            text = json.dumps(mutator.broken(body) if n % 2 else body).encode()
            try:
                read(decode_json(text, dict[str, Any]))
                statuses["taken"] += 1
            except CallerError as error:
                statuses["refused"] += bool(error.detail)
    assert min(statuses.values()) > 500


COMPAT_STREAMS = [
    ("/v1/chat/completions", {**ASK, "stream": True}),
    ("/v1/completions", {"model": "m1", "prompt": "hi", "stream": True}),
    ("/v1/responses", {**RESPONSE, "stream": True}),
    ("/v1/ui/chat", UI),
    ("/v1/agui", AGUI),
    ("/v1/messages", {**MESSAGES, "model": "m1"}),
]


@pytest.mark.parametrize(("path", "body"), COMPAT_STREAMS)
async def test_heartbeats_of_other_apis(path: str, body: Any) -> None:
    """The stream of each API has the interval that its client asks for, also while the status line
    waits for the answer to begin; heartbeats are comments, which every client skips, or pings.
    """
    limits = msgspec.structs.replace(LIMITS, min_heartbeat_seconds=0.01)
    url = f"{path}?heartbeat=0.02"
    async with running_hub(limits=limits) as hub, hub.ask("POST", url, json=body) as response:
        assert response.status == 200  # no answer begins
        (connection,) = hub.node.connections.connections
        assert connection.heartbeat_seconds == 0.02
        connection.send_heartbeat(0.0)
        received = b""
        while b": hb\n" not in received and b"event: ping\n" not in received:
            received += await response.content.readany()


@pytest.mark.parametrize(("path", "body"), COMPAT_STREAMS)
async def test_heartbeat_events_of_other_apis(hub: Hub, path: str, body: Any) -> None:
    """Another API has no event for a heartbeat: the request is refused and starts nothing."""
    status, problem = await hub.call("POST", f"{path}?heartbeat_event=true", json=body)
    assert status == 400
    assert "heartbeat=<seconds> works here too" in json.dumps(problem)
    assert not hub.backend.generations.records
