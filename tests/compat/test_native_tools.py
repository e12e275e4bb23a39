"""Responses over an upstream that has the Responses API itself: hosted and custom tools, and
summaries of reasoning, in both directions.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import msgspec
import pydantic
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hub.compat.answer_encoder import AnswerEncoderBase
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.compat.openai_responses.requests import read_responses
from hub.compat.openai_responses.tools import read_input, write_input
from hub.core.event import encode_json
from hub.core.generation import Generation, GenerationRequest
from hub.core.part_events import to_event
from hub.core.parts import Finished, Usage
from hub.core.sse_decoder import ServerSentEvent
from hub.settings import Settings
from hub.upstreams.openai.responses import OpenAiResponses
from tests import sdks
from tests.compat.history import DONE, ID, STARTED, STOPPED, Event, reasoning_delta, text_delta
from tests.compat.test_routes import Worker
from tests.http.kit import SETTINGS, Hub, running_hub

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
PATCH = {"type": "custom", "name": "patch", "format": {"type": "text"}}
TOOLS = [{"type": "web_search"}, FUNCTION, PATCH, {"type": "mcp", "server_label": "x"}]
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
SEARCH["action"] = {"type": "search", "query": "rain"}  # type: ignore[assignment]
ITEMS: list[dict[str, Any]] = [
    {"type": "message", "role": "user", "content": "hi"},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"},
    SEARCH,
    {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": '*** "x"'},
    {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
    {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c2", "output": "7"},
    {"type": "compaction", "encrypted_content": "gAAAA"},
]
BODY: dict[str, Any] = {
    "model": "m1",
    "input": ITEMS,
    "tools": TOOLS,
    "tool_choice": {"type": "web_search"},
    "include": ["web_search_call.action.sources"],
    "max_tool_calls": 3,
    "truncation": "auto",
    "context_management": [{"type": "compaction"}],
    "reasoning": {"effort": "low", "summary": "auto"},
}


@cache
def stream_event_type() -> pydantic.TypeAdapter[Any]:
    """Return the type of all events of a stream."""
    return pydantic.TypeAdapter(sdks.openai.types.responses.ResponseStreamEvent)


def upstream_body(body: dict[str, Any], *, is_native: bool = True) -> dict[str, Any]:
    """Return the request that the upstream gets."""
    generate = read_responses(body, is_native=is_native)[1]
    assert generate.messages is not None
    request = GenerationRequest(generate.messages, "main", "m1", generate.params)
    return dict(OpenAiResponses({}).build_request(request).body)


def test_request_reaches_the_upstream_unchanged() -> None:
    """Tools, items and fields that chat completions cannot express are those of the client."""
    body = upstream_body(BODY)
    message, *others = ITEMS
    assert body["input"] == [{"role": "user", "content": message["content"]}, *others]
    assert body["tools"] == TOOLS
    names = ("tool_choice", "include", "max_tool_calls", "truncation", "context_management")
    assert {name: body[name] for name in (*names, "reasoning")} == {
        name: BODY[name] for name in (*names, "reasoning")
    }


def test_other_upstreams_get_what_chat_completions_have() -> None:
    """Hosted tools and their items are left out, with one line each in the log; the calls of custom
    tools become calls of functions, so that the conversation stays whole.
    """
    body = {**BODY, "input": ITEMS[:-1], "tool_choice": "auto"}
    with structlog.testing.capture_logs() as logs:
        generate = read_responses(body)[1]
    assert [line["event"] for line in logs] == [
        *("responses.items_left_out", "responses.tools_left_out"),
    ]
    assert logs[0]["types"] == ["mcp_approval_response", "web_search_call"]
    assert [tool["function"]["name"] for tool in generate.params["tools"]] == ["f"]
    assert generate.params.keys() == {"tools", "tool_choice", "reasoning_effort"}
    assert [message.role for message in generate.messages or ()] == [
        *("user", "assistant", "tool", "assistant", "tool"),
    ]
    assert generate.messages is not None
    assert generate.messages[1].tool_calls is not None
    (call,) = generate.messages[1].tool_calls
    assert read_input(call["function"]["arguments"]) == '*** "x"'


def sse(kind: str, **fields: Any) -> ServerSentEvent:
    return ServerSentEvent(
        name=f"response.{kind}", data=json.dumps({"type": f"response.{kind}", **fields}), id=""
    )


def events_of(upstream: list[ServerSentEvent]) -> list[Event]:
    """Return the events of the generation that the upstream's events become."""
    reader = OpenAiResponses({}).new_reader()
    parts = [part for event in upstream for part in reader.read(event)]
    events = [STARTED]
    for n, part in enumerate(parts):
        if not isinstance(part, Usage | Finished):
            name, fields = to_event(part)
            events.append((name, encode_json({"generation": ID, "i": n, **fields})))
    return events


def record_of(**body: Any) -> Generation:
    generate = read_responses({**BODY, **body}, is_native=True)[1]
    request = GenerationRequest([], "main", "m1", generate.params, generate.metadata)
    return Generation(id=ID, user="alice", request=request)


def encode(record: Generation, events: list[Event]) -> list[dict[str, Any]]:
    """Return the events that the client gets, each of which the SDK's types accept."""
    encoder: AnswerEncoderBase = ResponsesEncoder(record)
    chunks = [*encoder.start()]
    for name, data in events:
        chunks += encoder.feed(name, data)
    decoded = [msgspec.json.decode(chunk.partition(b"data: ")[2]) for chunk in chunks]
    for event in decoded:
        if "response" not in event:
            stream_event_type().validate_python(event)
    assert [event["sequence_number"] for event in decoded] == list(range(len(decoded)))
    return decoded


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


STARTED_SEARCH = {**SEARCH, "status": "in_progress"}
AT = {"item_id": "ws_1", "output_index": 4}
SEARCHING = [
    sse("output_item.added", output_index=4, item=STARTED_SEARCH),
    sse("web_search_call.in_progress", **AT),
    sse("web_search_call.searching", **AT),
]
SEARCHED = [
    sse("web_search_call.completed", **AT),
    sse("output_item.done", output_index=4, item=SEARCH),
]


def test_events_of_a_hosted_tool_pass_through() -> None:
    """The client gets each of them with its own numbers and ids, between the items around it."""
    events = [*events_of([*SEARCHING, *SEARCHED]), text_delta("It rains."), DONE]
    encoded = encode(record_of(), [events[0], reasoning_delta("hm"), *events[1:]])
    inner = [event for event in encoded if event.get("output_index") == 1]
    assert kinds(inner) == [
        *("output_item.added", "web_search_call.in_progress", "web_search_call.searching"),
        *("web_search_call.completed", "output_item.done"),
    ]
    id_ = f"ws_{ID}_1"
    assert {event.get("item_id", id_) for event in inner} == {id_}
    output = encoded[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "web_search_call", "message"]
    assert output[1] == {**SEARCH, "id": id_}


def test_item_that_only_the_record_or_the_last_event_has() -> None:
    """An item that is complete at once has its two events."""
    only_end = events_of(SEARCHED[1:])
    response = {"status": "completed", "output": [SEARCH]}
    for events in (only_end, events_of([sse("completed", response=response)])):
        encoded = encode(record_of(), [*events, DONE])
        assert kinds(encoded)[2:4] == ["output_item.added", "output_item.done"]
    everything = [*SEARCHING, *SEARCHED, sse("completed", response=response)]
    assert len(events_of(everything)) == 1 + 5


def test_stopped_answer_has_no_open_item() -> None:
    """A hosted tool that was interrupted is incomplete."""
    encoded = encode(record_of(), [*events_of(SEARCHING), STOPPED])
    assert kinds(encoded)[-2:] == ["output_item.done", "incomplete"]
    assert encoded[-1]["response"]["output"][0]["status"] == "incomplete"


CALL = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "patch"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(chunks=st.lists(TEXTS, max_size=4), has_deltas=st.booleans(), has_end=st.booleans())
def test_call_of_a_custom_tool(chunks: list[str], has_deltas: bool, has_end: bool) -> None:
    """Its input is a text of any characters, streamed or whole, and never JSON for the client."""
    text = "".join(chunks)
    item = {**CALL, "input": text, "status": "completed"}
    upstream = [sse("output_item.added", output_index=0, item={**CALL, "input": ""})]
    if has_deltas:
        at = {"item_id": "ctc_1", "output_index": 0}
        upstream += [sse("custom_tool_call_input.delta", delta=each, **at) for each in chunks]
    if has_end:
        upstream.append(sse("output_item.done", output_index=0, item=item))
    upstream.append(sse("completed", response={"status": "completed", "output": [item]}))
    encoded = encode(record_of(), [*events_of(upstream), DONE])
    deltas = [event["delta"] for event in encoded if "delta" in event]
    assert "".join(deltas) == text
    output = {**CALL, "id": f"ctc_{ID}_0", "input": text, "status": "completed"}
    assert encoded[-1]["response"]["output"] == [output]
    assert ("custom_tool_call_input.delta" in kinds(encoded)) is bool(text)
    assert "custom_tool_call_input.done" in kinds(encoded)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_input_grows_with_its_arguments(text: str) -> None:
    """However the arguments are cut, what is read of them begins the input."""
    for arguments in (write_input(text), json.dumps({"input": text}, ensure_ascii=True)):
        read = [read_input(arguments[:end]) for end in range(len(arguments) + 1)]
        assert read[-1] == text
        assert all(text.startswith(each) for each in read)
    assert read_input('{"other": 1}') == '{"other": 1}'


@pytest.mark.parametrize("summary", ["auto", "detailed", None])
def test_summary_of_reasoning(summary: str | None) -> None:
    """A client that asked for a summary gets its events and its item, another one the text."""
    at = {"item_id": "rs_1", "output_index": 0}
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [
        {"type": "summary_text", "text": text} for text in ("**One** a", "**Two**")
    ], "encrypted_content": "e"}  # fmt: skip
    upstream = [
        sse("output_item.added", output_index=0, item={**reasoning, "summary": []}),
        sse("reasoning_summary_part.added", summary_index=0, **at),
        sse("reasoning_summary_text.delta", summary_index=0, delta="**One**", **at),
        sse("reasoning_summary_text.delta", summary_index=0, delta=" a", **at),
        sse("reasoning_summary_text.done", summary_index=0, text="**One** a", **at),
        sse("reasoning_summary_text.delta", summary_index=1, delta="**Two**", **at),
        sse("reasoning_summary_text.done", summary_index=1, text="**Two**", **at),
        sse("output_item.done", output_index=0, item=reasoning),
    ]
    events = [*events_of(upstream), text_delta("Hi"), DONE]
    encoded = encode(record_of(reasoning={"summary": summary}), events)
    item = encoded[-1]["response"]["output"][0]
    text = "**One** a\n\n**Two**"
    assert item["encrypted_content"] == "e"
    if summary is None:
        assert (item["summary"], item["content"][0]["text"]) == ([], text)
        assert "reasoning_text.delta" in kinds(encoded)
        return
    assert (item["summary"], item["content"]) == ([{"type": "summary_text", "text": text}], [])
    inner = [kind for kind in kinds(encoded) if "summary" in kind]
    assert inner[0] == "reasoning_summary_part.added"
    assert inner[-2:] == ["reasoning_summary_text.done", "reasoning_summary_part.done"]
    assert set(inner[1:-2]) == {"reasoning_summary_text.delta"}
    assert not [kind for kind in kinds(encoded) if kind.startswith("reasoning_text")]


@pytest.fixture
async def native_hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    """Run a node whose default upstream has the Responses API."""
    upstreams = {
        "main": {"base_url": "http://127.0.0.1:1", "kind": "openai-responses"},
        "chat": {"base_url": "http://127.0.0.1:1"},
        "mixed": {"base_url": "http://x", "kind": "openai-responses", "fallbacks": ["chat"]},
    }
    settings = {**SETTINGS.model_dump(exclude_unset=True), "upstreams": upstreams}
    monkeypatch.setattr("tests.http.kit.SETTINGS", Settings.model_validate(settings))
    async with running_hub() as hub:
        yield hub


async def test_next_turn_has_the_items_of_the_answer(native_hub: Hub) -> None:
    """Hosted items of an answer come back by `previous_response_id` and by their ids; upstreams of
    other kinds, also as a fallback, do not get them.
    """
    hub, worker = native_hub, Worker(native_hub)
    body = {"model": "m1", "input": "rain?", "tools": TOOLS}
    call = asyncio.create_task(hub.call("POST", "/v1/responses", json=body))
    assert (await worker.take()).params["tools"][0] == {"type": "web_search"}
    for _, data in events_of([*SEARCHING, *SEARCHED])[1:]:
        part = json.loads(data)
        await worker.send_part(**{name: part[name] for name in ("type", "name", "id", "value")})
    await worker.send_text("It rains.")
    await worker.end()
    _, first = await call
    search = first["output"][0]
    assert search == {**SEARCH, "id": search["id"]}
    reference = {"type": "item_reference", "id": search["id"]}
    continued = {"previous_response_id": first["id"], "input": "so?"}
    for model, fields, kept in (
        ("m1", continued, [search]),
        ("m1", {"input": [reference, {"role": "user", "content": "so?"}]}, [search]),
        ("chat/m1", continued, []),
        ("mixed/m1", continued, []),
    ):
        worker = Worker(hub)
        more = {"model": model, "background": True, **fields}
        _, response = await hub.call("POST", "/v1/responses", json=more)
        request = await worker.take()
        items = OpenAiResponses({}).build_request(request).body["input"]
        assert [item for item in items if item.get("type") == "web_search_call"] == kept, model
        path = f"/v1/responses/{response['id']}/input_items"
        listed = (await hub.call("GET", path))[1]["data"]
        assert [item for item in listed if item["type"] == "web_search_call"] == kept
        await worker.end()


def message(id_: str, text: str, **phase: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": id_, "role": "assistant", "content": [part], **phase}


MESSAGES = [
    message("msg_1", "I look.", phase="commentary"),
    message("msg_2", "It rains.", phase="final_answer"),
    message("msg_3", "Bye."),
]


def stream_of(items: list[dict[str, Any]]) -> list[ServerSentEvent]:
    """Return the events of messages that are streamed one after another."""
    events = []
    for n, item in enumerate(items):
        at = {"item_id": item["id"], "output_index": n}
        events += [
            sse("output_item.added", output_index=n, item={**item, "content": []}),
            sse("output_text.delta", delta=item["content"][0]["text"], content_index=0, **at),
            sse("output_item.done", output_index=n, item=item),
        ]
    return [*events, sse("completed", response={"status": "completed", "output": items})]


@pytest.mark.parametrize(
    "upstream",
    [
        stream_of(MESSAGES),
        stream_of(MESSAGES)[2::3],  # only their ends
        stream_of(MESSAGES)[-1:],
    ],
    ids=["streamed", "ends", "whole"],
)
def test_phase_of_messages(upstream: list[ServerSentEvent]) -> None:
    """Each message of the upstream is one of the client's, with its phase from its start on."""
    encoded = encode(record_of(), [*events_of(upstream), DONE])
    started = [event["item"] for event in encoded if event["type"].endswith("output_item.added")]
    output = encoded[-1]["response"]["output"]
    for items in (started, output):
        assert [item.get("phase") for item in items] == ["commentary", "final_answer", None]
    assert [item["content"][0]["text"] for item in output] == ["I look.", "It rains.", "Bye."]


def test_messages_without_a_phase_are_one_text() -> None:
    """Servers that know no phases are read as before."""
    plain = [{k: v for k, v in each.items() if k != "phase"} for each in MESSAGES]
    encoded = encode(record_of(), [*events_of(stream_of(plain)), DONE])
    (item,) = encoded[-1]["response"]["output"]
    assert item["content"][0]["text"] == "I look.It rains.Bye."
    assert "phase" not in item


@pytest.mark.parametrize("phase", [5, [], {}, "", None])
def test_odd_phase(phase: Any) -> None:
    """A phase that is no text, of an upstream or of a client, harms nothing."""
    encoded = encode(record_of(), [*events_of(stream_of([message("m", "x", phase=phase)])), DONE])
    assert encoded[-1]["response"]["output"][0]["content"][0]["text"] == "x"
    body = {**BODY, "input": [message("m", "x", phase=phase), ITEMS[0]]}
    assert upstream_body(body)["input"][0] == {"role": "assistant", "content": "x"}


def test_phase_goes_back_to_the_upstream() -> None:
    """An upstream with the Responses API gets the phase of each earlier message, others do not."""
    reasoning = ITEMS[1]
    short = {"role": "assistant", "content": "Short.", "phase": "commentary"}
    body = {**BODY, "input": [ITEMS[0], reasoning, *MESSAGES, short, ITEMS[6], ITEMS[7]]}
    sent = upstream_body(body)["input"]
    kept = [{k: v for k, v in each.items() if k != "id"} for each in MESSAGES[:2]]
    part = {"type": "output_text", "text": "Short."}
    assert sent[1] == reasoning
    assert sent[2:4] == kept
    assert sent[5] == {"type": "message", **short, "content": [part]}
    assert [item["type"] for item in sent[6:]] == ["function_call", "function_call_output"]
    generate = read_responses({**body, "tool_choice": "auto"})[1]
    assert b"phase" not in encode_json(msgspec.to_builtins(generate.messages))
