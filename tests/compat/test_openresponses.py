"""The requests of the public OpenResponses compliance suite, which has 17 tests.

Each test here sends the requests of the test of the same name at openresponses.org, and checks what
it checks: the events and the response are valid, and the response is what the request asks for. The
models of the package `openai` validate them, and test_dialects.py the fields that the specification
requires in addition.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import aiohttp
import pydantic
import pytest

from tests import sdks
from tests.compat.test_dialects import FIELDS, NUMBERS
from tests.compat.test_routes import Worker, read_data
from tests.http.kit import Hub, Stream, running_hub

ENDS = ("response.completed", "response.failed", "response.incomplete", "error")
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQ"
USER = {"type": "message", "role": "user"}
ASSISTANT = {"type": "message", "role": "assistant"}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}},
}
CREATE = {"type": "response.create", "model": "m1"}
LOCAL = {**CREATE, "store": False}
TEXT = ({"text": "Hi "}, {"text": "there."})
Event = dict[str, Any]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


@cache
def server_event_type() -> pydantic.TypeAdapter[Any]:
    """Return the type of all events of the WebSocket mode."""
    return pydantic.TypeAdapter(sdks.openai.types.responses.ResponsesServerEvent)


def check_response(response: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    """Check a response as the suite does, and return it."""
    sdks.openai.types.responses.Response.model_validate(response, strict=True)
    assert response.keys() == FIELDS
    assert all(isinstance(response[name], int | float) for name in NUMBERS)
    assert response["status"] == status
    assert response["output"]
    return response


def check_events(events: list[Event]) -> dict[str, Any]:
    """Check the events of one response, and return the response."""
    for event in events:
        server_event_type().validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    return check_response(events[-1]["response"])


async def answer(worker: Worker, *deltas: dict[str, Any]) -> list[tuple[str, Any]]:
    """Answer the next request; return its messages."""
    request = await worker.take()
    for delta in deltas or TEXT:
        await worker.send_delta(**delta)
    await worker.end()
    return [(message.role, message.content) for message in request.messages]


async def ask(hub: Hub, path: str, body: dict[str, Any], *deltas: dict[str, Any]) -> Any:
    """Send a request and answer it; return the document."""
    worker = Worker(hub)
    call = asyncio.create_task(hub.call("POST", path, json={"model": "m1", **body}))
    await answer(worker, *deltas)
    status, document = await call
    assert status == 200, document
    return document


@asynccontextmanager
async def web_socket(hub: Hub) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open the WebSocket mode as the suite does."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer key"}
    url = f"http://127.0.0.1:{hub.port}/v1/responses"
    async with hub.session.ws_connect(url, headers=headers) as socket:
        yield socket


async def read_turn(socket: aiohttp.ClientWebSocketResponse) -> list[Event]:
    """Return the events up to the end of a response, or the error instead of one."""
    events: list[Event] = []
    async with asyncio.timeout(60):
        while not events or events[-1]["type"] not in ENDS:
            events.append(json.loads(await socket.receive_str()))
    return events


async def turn(
    hub: Hub, socket: aiohttp.ClientWebSocketResponse, body: Event, **more: Any
) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Do one turn; return its response, and the messages that the LLM got."""
    worker = Worker(hub)
    await socket.send_json({**body, **more})
    messages = await answer(worker)
    return check_events(await read_turn(socket)), messages


async def refused_turn(
    socket: aiohttp.ClientWebSocketResponse, body: Event, **more: Any
) -> tuple[int, str]:
    """Send a request that is refused; return the status and the code of the error."""
    await socket.send_json({**body, **more})
    (event,) = await read_turn(socket)
    server_event_type().validate_python(event)
    assert event["type"] == "error"
    assert event["error"]["message"]
    return event["status"], event["error"]["code"]


INPUTS: dict[str, Any] = {
    "basic-response": [{**USER, "content": "Say hello in exactly 3 words."}],
    "assistant-phase": [
        {**ASSISTANT, "phase": "commentary", "content": "I should answer with the saved number."},
        {**ASSISTANT, "phase": "final_answer", "content": "The number is four."},
        {**USER, "content": "Repeat only the number."},
    ],
    "system-prompt": [
        {"type": "message", "role": "system", "content": "You are a pirate."},
        {**USER, "content": "Say hello."},
    ],
    "image-input": [
        {
            **USER,
            "content": [
                {"type": "input_text", "text": "What do you see?"},
                {"type": "input_image", "image_url": PIXEL},
            ],
        }
    ],
    "multi-turn": [
        {**USER, "content": "My name is Alice."},
        {**ASSISTANT, "content": "Hello Alice!"},
        {**USER, "content": "What is my name?"},
    ],
}


@pytest.mark.parametrize("name", INPUTS)
async def test_complete_response(hub: Hub, name: str) -> None:
    """basic-response, assistant-phase, system-prompt, image-input, multi-turn."""
    check_response(await ask(hub, "/v1/responses", {"input": INPUTS[name]}))


async def test_streaming_response(hub: Hub) -> None:
    """streaming-response: each event is valid, and the last one has the complete response."""
    worker = Worker(hub)
    body = {"model": "m1", "stream": True, "input": [{**USER, "content": "Count from 1 to 5."}]}
    answered = asyncio.create_task(answer(worker))
    async with hub.ask("POST", "/v1/responses", json=body) as response:
        data = await read_data(Stream(response))
    await answered
    check_events([json.loads(each) for each in data])


async def test_tool_calling(hub: Hub) -> None:
    """tool-calling: the output has a call of the function."""
    call = {"index": 0, "id": "c1", "function": {"name": "get_weather", "arguments": "{}"}}
    body = {"input": [{**USER, "content": "Weather?"}], "tools": [TOOL]}
    response = check_response(await ask(hub, "/v1/responses", body, {"tool_calls": [call]}))
    assert [item["type"] for item in response["output"]] == ["function_call"]


async def test_websocket_response(hub: Hub) -> None:
    """websocket-response: the same events as over HTTP, one message each."""
    async with web_socket(hub) as socket:
        await turn(hub, socket, CREATE, input=[{**USER, "content": "Count from 1 to 3."}])


async def test_websocket_sequential_responses(hub: Hub) -> None:
    """websocket-sequential-responses: two responses on one connection, each from number 0."""
    async with web_socket(hub) as socket:
        for text in ("first", "second"):
            _, messages = await turn(hub, socket, LOCAL, input=f"Reply with exactly: {text}")
            assert messages == [("user", f"Reply with exactly: {text}")]


async def test_websocket_continuation(hub: Hub) -> None:
    """websocket-continuation: the connection remembers a response that is not stored."""
    async with web_socket(hub) as socket:
        first, _ = await turn(hub, socket, LOCAL, input="Remember: cobalt.")
        _, messages = await turn(
            hub, socket, LOCAL, previous_response_id=first["id"], input="What is the word?"
        )
        assert messages == [
            ("user", "Remember: cobalt."),
            ("assistant", "Hi there."),
            ("user", "What is the word?"),
        ]


async def test_websocket_reconnect_store_false_recovery(hub: Hub) -> None:
    """websocket-reconnect-store-false-recovery: another connection does not know the response, and
    begins anew.
    """
    async with web_socket(hub) as socket:
        first, _ = await turn(hub, socket, LOCAL, input="Remember: copper.")
    async with web_socket(hub) as socket:
        refusal = await refused_turn(socket, LOCAL, previous_response_id=first["id"], input="And?")
        assert refusal == (400, "previous_response_not_found")
        await turn(hub, socket, LOCAL, input=[{**USER, "content": "Start again."}])


async def test_websocket_previous_response_not_found(hub: Hub) -> None:
    """websocket-previous-response-not-found: an id that never was."""
    async with web_socket(hub) as socket:
        missing = {"previous_response_id": "resp_missing_1", "input": "fails"}
        assert await refused_turn(socket, LOCAL, **missing) == (400, "previous_response_not_found")


async def test_websocket_failed_continuation_evicts_cache(hub: Hub) -> None:
    """websocket-failed-continuation-evicts-cache: after a continuation that fails, the connection
    does not know the earlier response any more.
    """
    async with web_socket(hub) as socket:
        first, _ = await turn(hub, socket, LOCAL, input="Remember: ember.")
        output = {"type": "function_call_output", "call_id": "call_missing", "output": "none"}
        status, _ = await refused_turn(
            socket, LOCAL, previous_response_id=first["id"], input=[output]
        )
        assert status == 400
        refusal = await refused_turn(socket, LOCAL, previous_response_id=first["id"], input="And?")
        assert refusal == (400, "previous_response_not_found")


CONVERSATION = [
    {**USER, "content": "We launch on Tuesday."},
    {**ASSISTANT, "content": "Understood: Tuesday."},
]


async def test_websocket_compact_new_chain(hub: Hub) -> None:
    """websocket-compact-new-chain: the output of a compaction begins the next conversation."""
    document = await ask(hub, "/v1/responses/compact", {"input": CONVERSATION}, {"text": "Tue."})
    async with web_socket(hub) as socket:
        items = [*document["output"], {**USER, "content": "Continue."}]
        _, messages = await turn(hub, socket, LOCAL, input=items, tools=[])
    assert messages == [
        ("user", "We launch on Tuesday."),
        ("assistant", "Tue."),
        ("user", "Continue."),
    ]


async def test_compact_response(hub: Hub) -> None:
    """compact-response: the user's messages and one compaction."""
    body = {"prompt_cache_key": "k", "input": CONVERSATION}
    document = await ask(hub, "/v1/responses/compact", body)
    assert document.keys() == sdks.openai.types.responses.CompactedResponse.model_fields.keys() - {
        "image"
    }
    assert document["object"] == "response.compaction"
    message, compaction = document["output"]
    content = [{"type": "input_text", "text": "We launch on Tuesday."}]
    assert message == {**USER, "id": message["id"], "status": "completed", "content": content}
    sdks.openai.types.responses.ResponseCompactionItem.model_validate(compaction, strict=True)
    sdks.openai.types.responses.ResponseUsage.model_validate(document["usage"], strict=True)


async def test_compact_missing_model(hub: Hub) -> None:
    """compact-missing-model: the field is required."""
    status, document = await hub.call("POST", "/v1/responses/compact", json={"input": "x"})
    assert status == 400
    assert "model" in document["error"]["message"]


def test_response_output_phase_schema() -> None:
    """response-output-phase-schema: the suite checks only its own schema; a message with a phase
    is one that clients of OpenAI read.
    """
    part = {"type": "output_text", "text": "The answer is four.", "annotations": []}
    item = {**ASSISTANT, "id": "msg_1", "status": "completed", "phase": "final_answer"}
    event = {"type": "response.output_item.done", "sequence_number": 0, "output_index": 0}
    server_event_type().validate_python({**event, "item": {**item, "content": [part]}})
