"""Each dialect shows the parts of an answer that it has a form for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.compat.answer_state import AnswerCollector
from hub.compat.openai_chat.encoder import chat_completion
from hub.compat.openai_responses.input import to_messages
from hub.compat.openai_responses.response_collector import ResponseCollector
from hub.core.parts import Data, File, Part, Source, Text
from hub.core.response_items import EVENT_DATA
from hub.core.sse_decoder import SseDecoder
from tests import sdks
from tests.compat.history import (
    DONE,
    ENCODERS,
    PNG,
    RECORD,
    RESTARTED,
    STARTED,
    STOPPED,
    Event,
    encode_all,
    event,
    part,
    reasoning_delta,
    text_delta,
)
from tests.compat.readers import read_stream
from tests.http.test_parts import PRODUCED, answering_hub

SOURCE = part("source", url="https://a.example", title="A", id="doc-1")
STORY: list[Event] = [
    STARTED,
    part("status", text="Searching"),
    part("step_start", name="search"),
    event(
        "delta",
        i=0,
        tool_calls=[
            {
                "index": 0,
                "id": "t",
                "type": "function",
                "run_by": "producer",
                "function": {"name": "find", "arguments": "{}"},
            }
        ],
    ),
    part("tool_result", id="t", result={"hits": 2}),
    part("step_end", name="search"),
    text_delta("a"),
    SOURCE,
    PNG,
    part("data", name="chart", value=[1], id="c"),
    part("data", name="tick", value=1, transient=True),
    text_delta("b"),
    event(
        "delta",
        i=0,
        tool_calls=[
            {
                "index": 1,
                "id": "u",
                "type": "function",
                "function": {"name": "open", "arguments": "{}"},
            }
        ],
    ),
    DONE,
]


def chunks(name: str, events: list[Event]) -> list[dict[str, Any]]:
    """Return the decoded data of each chunk."""
    text = b"".join(encode_all(ENCODERS[name](), events))
    return [json.loads(each.data) for each in SseDecoder().feed(text)]


def test_ai_sdk() -> None:
    """Everything has a chunk; a tool of the producer is not for the client to run."""
    shown = [chunk for chunk in chunks("ui", STORY) if chunk["type"] not in ("start", "finish")]
    call = {"toolCallId": "t", "providerExecuted": True}
    assert shown == [
        {"type": "start-step"},
        {"type": "data-status", "data": {"text": "Searching"}, "transient": True},
        {"type": "start-step"},
        {"type": "tool-input-start", "toolName": "find", **call},
        {"type": "tool-input-delta", "toolCallId": "t", "inputTextDelta": "{}"},
        {"type": "tool-input-available", "toolName": "find", "input": {}, **call},
        {"type": "tool-output-available", "output": {"hits": 2}, **call},
        {"type": "finish-step"},
        {"type": "text-start", "id": "t0"},
        {"type": "text-delta", "id": "t0", "delta": "a"},
        {"type": "text-end", "id": "t0"},
        {"type": "source-url", "sourceId": "doc-1", "url": "https://a.example", "title": "A"},
        {"type": "file", "url": "data:image/png;base64,aGk=", "mediaType": "image/png"},
        {"type": "data-chart", "id": "c", "data": [1]},
        {"type": "data-tick", "transient": True, "data": 1},
        {"type": "text-start", "id": "t1"},
        {"type": "text-delta", "id": "t1", "delta": "b"},
        {"type": "text-end", "id": "t1"},
        {"type": "tool-input-start", "toolCallId": "u", "toolName": "open"},
        {"type": "tool-input-delta", "toolCallId": "u", "inputTextDelta": "{}"},
        {"type": "tool-input-available", "toolCallId": "u", "toolName": "open", "input": {}},
        {"type": "finish-step"},
    ]


def test_ai_sdk_error_of_a_tool() -> None:
    """The result of a tool that failed is an error text."""
    failed = part("tool_result", id="t", result={"why": "no"}, is_error=True)
    shown = chunks("ui", [*STORY[:4], failed])
    assert shown[-1] == {
        "type": "tool-output-error",
        "toolCallId": "t",
        "providerExecuted": True,
        "errorText": '{"why":"no"}',
    }


def test_ag_ui() -> None:
    """Steps, results and state have events of their own, and the rest is CUSTOM."""
    shown = chunks("ag-ui", STORY)
    names = [chunk.get("name") or chunk["type"] for chunk in shown]
    message = ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"]
    assert names == [
        *["RUN_STARTED", "generation", "status", "STEP_STARTED"],
        *["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"],
        *["STEP_FINISHED", *message, "source", "file", "chart", "tick"],
        *["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"],
        *["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "RUN_FINISHED"],
    ]
    result = shown[7]
    assert (result["toolCallId"], result["content"], result["role"]) == ("t", '{"hits":2}', "tool")
    assert shown[3]["stepName"] == shown[8]["stepName"] == "search"


def test_ag_ui_state() -> None:
    """Data of the names `state` and `state_delta` is the shared state."""
    patch = [{"op": "add", "path": "/a", "value": 1}]
    state = [part("data", name="state", value={}), part("data", name="state_delta", value=patch)]
    assert chunks("ag-ui", [STARTED, *state])[2:] == [
        {"type": "STATE_SNAPSHOT", "snapshot": {}},
        {"type": "STATE_DELTA", "delta": patch},
    ]


@pytest.mark.parametrize("end", [[DONE], [STOPPED], [RESTARTED, part("step_end", name="s"), DONE]])
def test_ag_ui_ends_steps_once(end: list[Event]) -> None:
    """Clients fail on a step that is still open at the end, or that ends twice."""
    begin = part("step_start", name="s")
    shown = chunks("ag-ui", [STARTED, begin, begin, *end])
    steps = [chunk["type"] for chunk in shown if chunk["type"].startswith("STEP_")]
    assert steps == ["STEP_STARTED", "STEP_FINISHED"]


def test_chat_completions() -> None:
    """The client gets sources, images, and only the calls that it is to run."""
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks("chat", STORY)[:-1]]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    citation = {"url": "https://a.example", "title": "A"}
    annotation = {"type": "url_citation", "url_citation": citation}
    function = {"name": "open", "arguments": "{}"}
    call = {"id": "u", "type": "function", "function": function}
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"annotations": [{"index": 0, **annotation}]},
        {"images": [{"index": 0, **image}]},
        {"content": "b"},
        {"tool_calls": [{"index": 0, **call}]},
        {},
    ]
    collected = AnswerCollector(RECORD)
    encode_all(collected, STORY)
    message = chat_completion(RECORD, collected.answer)["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "ab",
        "annotations": [annotation],
        "images": [image],
        "tool_calls": [call],
    }


@pytest.mark.parametrize("middle", [[], [RESTARTED, *STORY[1:-1]]])
def test_responses(middle: list[Event]) -> None:
    """Results and images are items, sources are annotations; all of it can be sent back."""
    events = [*STORY[:-1], DONE]
    streamed = chunks("responses", events)[-1]["response"]
    collected = ResponseCollector(RECORD)
    encode_all(collected, [*STORY[:-1], *middle, DONE])
    for output in (streamed["output"], collected.document()["output"]):
        by_type: dict[str, Any] = {item["type"]: item for item in output}
        assert by_type["function_call_output"]["call_id"] == "t"
        assert by_type["function_call_output"]["output"] == '{"hits":2}'
        assert by_type["image_generation_call"]["result"] == "aGk="
        assert [item["name"] for item in output if item["type"] == "function_call"] == [
            "find",
            "open",
        ]
        annotations = [
            annotation["url"]
            for item in output
            if item["type"] == "message"
            for annotation in item["content"][0]["annotations"]
        ]
        assert annotations == ["https://a.example"]
        assert len({item["id"] for item in output}) == len(output)
        assert [message.role for message in to_messages(output)].count("tool") == 1


async def test_openai_python() -> None:
    """Its stream helpers accept every part, and an answer with results can be continued."""
    images: list[Part] = [
        File(data="aGk=", media_type="image/png"),
        File(url="https://a.example/g.png", media_type="image/png"),
        Source("https://b.example"),
    ]
    async with answering_hub([*PRODUCED, *images]) as hub:
        url = f"http://127.0.0.1:{hub.port}/v1"
        async with sdks.openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            async with client.responses.stream(model="m1", input="hi") as events:
                async for _ in events:
                    pass
                answer = await events.get_final_response()
            types = [item.type for item in answer.output]
            assert types[:3] == ["function_call", "function_call_output", "message"]
            assert "image_generation_call" in types
            output = [item.model_dump(exclude_none=True) for item in answer.output]
            for more in ({"previous_response_id": answer.id}, {"input": output}):
                body: dict[str, Any] = {"input": "more", **more}
                assert (await client.responses.create(model="m1", **body)).status == "completed"
            ask: list[Any] = [{"role": "user", "content": "hi"}]
            async with client.chat.completions.stream(model="m1", messages=ask) as chunks_:
                async for _ in chunks_:
                    pass
                message = (await chunks_.get_final_completion()).choices[0].message
    assert message.content == "ab"
    assert [each.url_citation.url for each in message.annotations or ()] == [
        "https://a.example",
        "https://b.example",
    ]


PICTURE = {"type": "image_generation_call", "id": "ig_1", "status": "completed"}
PICTURE["result"] = "A" * 100_000
DRAWN = Data(EVENT_DATA, {"type": "response.output_item.done", "item": PICTURE}, "ig_1")


async def test_picture_that_is_too_large() -> None:
    """A picture of a hosted tool above the limit fails the answer with the name of the setting; the
    text before it stays readable.
    """
    async with answering_hub([Text("Here: "), DRAWN]) as hub:
        body: dict[str, Any] = {"model": "m1", "input": "draw"}
        status, document = await hub.call("POST", "/v1/responses", json=body)
        assert (status, document["error"]["code"]) == (502, "answer_too_large")
        assert "65536 bytes (generations.max_part_bytes)" in document["error"]["message"]
        body["stream"] = True
        async with hub.ask("POST", "/v1/responses", json=body) as response:
            events = [json.loads(each.data) for each in SseDecoder().feed(await response.read())]
        assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
        failed = events[-1]["response"]
        assert failed["error"]["message"] == document["error"]["message"]
        assert failed["output"][0]["content"][0]["text"] == "Here: "
        _, kept = await hub.call("GET", f"/v1/responses/{failed['id']}")
        assert kept["output"] == failed["output"]


async def test_picture_within_the_limit() -> None:
    """With a higher limit it is streamed and kept."""
    async with answering_hub([DRAWN, Text("Here.")], max_part_bytes=200_000) as hub:
        body = {"model": "m1", "input": "draw", "stream": True}
        async with hub.ask("POST", "/v1/responses", json=body) as response:
            events = [json.loads(each.data) for each in SseDecoder().feed(await response.read())]
        whole = events[-1]["response"]
        assert (whole["status"], whole["output"][0]["result"]) == ("completed", PICTURE["result"])
        assert (await hub.call("GET", f"/v1/responses/{whole['id']}"))[1]["output"] == whole[
            "output"
        ]


CALL_OF_AGENT = {
    "index": 0,
    "id": "t",
    "type": "function",
    "run_by": "producer",
    "function": {"name": "find", "arguments": "{}"},
}
LEFT_TO_CLIENT = {"index": 0, "run_by": "client", "function": {"arguments": ""}}


@pytest.mark.parametrize("name", ["chat", "messages", "ui"])
def test_call_that_is_left_to_the_client(name: str) -> None:
    """Each dialect that shows only the client's calls has it whole once it is the client's."""
    events = [
        event("delta", i=n, tool_calls=[c]) for n, c in enumerate((CALL_OF_AGENT, LEFT_TO_CLIENT))
    ]
    text = b"".join(encode_all(ENCODERS[name](), [STARTED, *events, DONE]))
    shown = [json.loads(each.data) for each in SseDecoder().feed(text)]
    match name:
        case "chat":
            function = {"name": "find", "arguments": "{}"}
            call = {"index": 0, "id": "t", "type": "function", "function": function}
            assert [each["choices"][0]["delta"].get("tool_calls") for each in shown[1:2]] == [
                [call]
            ]
        case "ui":
            ready = next(each for each in shown if each["type"] == "tool-input-available")
            assert ready["providerExecuted"] is False
        case "messages":
            blocks = [each["content_block"] for each in shown if "content_block" in each]
            assert [(block["type"], block["id"]) for block in blocks] == [("tool_use", "t")]


def test_sources_without_text() -> None:
    """A message of Responses that has only sources keeps them when it ends."""
    events = [STARTED, part("source", url="https://b.example"), DONE]
    stream = b"".join(encode_all(ENCODERS["responses"](), events))
    assert read_stream("responses", stream).sources == ["https://b.example"]


def test_reasoning_whose_signature_comes_late() -> None:
    """A block of thinking does not repeat the text that was sent before another block."""
    signed = {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic"}
    details = event("delta", i=2, reasoning_details=[signed])
    events = [STARTED, reasoning_delta("hm"), text_delta("a"), details, DONE]
    answer = read_stream("messages", b"".join(encode_all(ENCODERS["messages"](), events)))
    assert (answer.reasoning, answer.details) == ("hm", [signed])
