"""Requests to agents: conversations of chat completions as AG-UI's and the AI SDK's messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from hub.compat.ag_ui.requests import RunAgentInput, to_request
from hub.compat.ai_sdk.requests import read_chat
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.errors import UpstreamError
from hub.upstreams.ag_ui.dialect import AgUi
from hub.upstreams.ai_sdk.dialect import AiSdk
from hub.upstreams.chat_params import tool_names
from hub.upstreams.dialect import Dialect
from hub.upstreams.http.endpoint import join_url
from tests.upstreams.test_requests import CONVERSATION, IMAGE_URL_PARTS, PNG, TOOLS

CONTEXT = GenerationContext(user="alice", generation="g1", attempt=2)
KINDS: list[type[AgUi] | type[AiSdk]] = [AgUi, AiSdk]
FILES = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": PNG}},
    *IMAGE_URL_PARTS,
    {"type": "file", "file": {"file_data": "https://x.test/a.pdf?x=1", "filename": "a.pdf"}},
    {"type": "file", "file": {"file_data": "data:audio/mpeg;base64,aGk="}},
]


def build(dialect: Dialect, messages: list[Message], **fields: Any) -> Any:
    """Return the body that is sent."""
    request = GenerationRequest(messages, "agent", fields.pop("model", "agent"), **fields)
    return json.loads(msgspec.json.encode(dialect.build_request(request, CONTEXT).body))


def test_run() -> None:
    """A run has the conversation with the ids of the messages, and the tools of the client."""
    body = build(AgUi({}), CONVERSATION, params={"tools": TOOLS})
    assert body["messages"][0] == {"id": "msg_0", "role": "system", "content": "be kind"}
    assert body["messages"][2:5] == [
        {
            "id": "msg_2",
            "role": "assistant",
            "content": "I look.",
            "toolCalls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
                },
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"id": "msg_3", "role": "tool", "toolCallId": "c1", "content": "rain"},
        {"id": "msg_4", "role": "tool", "toolCallId": "c2", "content": "noon"},
    ]
    assert [(tool["name"], tool["description"]) for tool in body["tools"]] == [
        ("weather", "It rains."),
        ("now", ""),
    ]
    assert (body["threadId"], body["runId"], body["protocolVersion"]) == ("g1", "g1-2", "1.0")
    assert (body["state"], body["context"], body["forwardedProps"]) == ({}, [], {})


def test_run_of_a_chat() -> None:
    """The chat is the thread; parameters are what the protocol has no fields for."""
    dialect = AgUi({"forwardedProps": {"region": "eu"}, "state": {"a": 1}})
    params = {"temperature": 0.5, "state": {"n": 1}, "forwardedProps": {"x": 1}}
    context = [{"description": "d", "value": "v"}]
    fields = {"params": {**params, "context": context}, "metadata": {"ids": ["u7"]}}
    body = build(dialect, [Message("user", "hi")], chat="chat-1", model="m1", **fields)
    assert (body["threadId"], body["messages"][0]["id"]) == ("chat-1", "u7")
    assert (body["state"], body["context"]) == ({"n": 1}, context)
    props = {"model": "m1", "params": {"temperature": 0.5}, "region": "eu", "x": 1}
    assert body["forwardedProps"] == props


def test_files_of_a_run() -> None:
    """Pictures and files are inline or by URL, as the request has them."""
    assert build(AgUi({}), [Message("user", FILES)])["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image",
            "source": {"type": "data", "value": "iVBORw0KGgo=", "mimeType": "image/png"},
        },
        {"type": "image", "source": {"type": "url", "value": "https://x.test/a.png"}},
        {
            "type": "document",
            "source": {
                "type": "url",
                "value": "https://x.test/a.pdf?x=1",
                "mimeType": "application/pdf",
            },
        },
        {"type": "audio", "source": {"type": "data", "value": "aGk=", "mimeType": "audio/mpeg"}},
    ]


def test_chat() -> None:
    """An answer with its tools is one UI message with steps; the message goes on in the next."""
    messages = [*CONVERSATION[:5], Message("assistant", "It rains at noon."), CONVERSATION[5]]
    body = build(AiSdk({}), messages, params={"tools": TOOLS}, chat="chat-1")
    assert (body["id"], body["trigger"]) == ("chat-1", "submit-message")
    assert [message["role"] for message in body["messages"]] == [
        *["system", "user", "assistant", "user"]
    ]
    assert body["messages"][2]["parts"] == [
        {"type": "step-start"},
        {"type": "text", "text": "I look.", "state": "done"},
        {
            "type": "tool-weather",
            "toolCallId": "c1",
            "input": {"city": "Köln"},
            "state": "output-available",
            "output": "rain",
        },
        {
            "type": "tool-now",
            "toolCallId": "c2",
            "input": {},
            "state": "output-available",
            "output": "noon",
        },
        {"type": "step-start"},
        {"type": "text", "text": "It rains at noon.", "state": "done"},
    ]
    assert set(body["tools"]) == {"weather", "now"}
    assert "model" not in body


def test_chat_that_goes_on() -> None:
    """The last message keeps the id that its client gave it, and a call may wait."""
    messages = [Message("user", "hi"), CONVERSATION[2]]
    fields = {"metadata": {"message": "m7"}, "params": {"top_p": 1}, "model": "m1"}
    body = build(AiSdk({"params": {"seed": 1}}), messages, **fields)
    assert (body["messages"][1]["id"], body["model"]) == ("m7", "m1")
    assert body["params"] == {"seed": 1, "top_p": 1}
    assert {part.get("state") for part in body["messages"][1]["parts"]} == {
        *[None, "done", "input-available"]
    }


def test_files_of_a_chat() -> None:
    """Files have their media type, if only their name or URL tells it."""
    parts = build(AiSdk({}), [Message("user", FILES)])["messages"][0]["parts"]
    assert [(part.get("mediaType"), part.get("url")) for part in parts] == [
        (None, None),
        ("image/png", PNG),
        ("image/png", "https://x.test/a.png"),
        ("application/pdf", "https://x.test/a.pdf?x=1"),
        ("audio/mpeg", "data:audio/mpeg;base64,aGk="),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("message", "params", "words"),
    [
        (Message("user", "hi"), {"n": 2}, "n must be 1"),
        (Message("user", "hi"), {"tools": [{"type": "web_search"}]}, "only functions"),
        (Message("user", [{"type": "input_audio"}]), {}, "audio"),
        (Message("user", [{"type": "file", "file": {}}]), {}, "file_data"),
        (Message("system", IMAGE_URL_PARTS), {}, "only text"),
    ],
)
def test_refusals(
    kind: type[AgUi] | type[AiSdk], message: Message, params: dict[str, Any], words: str
) -> None:
    """What the protocol cannot express is refused before a request is sent."""
    with pytest.raises(UpstreamError, match=words) as caught:
        build(kind({}), [message], params=params)
    assert (caught.value.code, caught.value.rejects_request) == ("upstream_unsupported", True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"state": {}, "context": [], "tools": [], "forwardedProps": {}},
        {"state": {"n": None, "deep": [{"x": []}]}},
        {"state": "text"},
        {"state": 0},
        {"context": [{"description": "page", "value": "cart", "extra": None}]},
        {"tools": [{"name": "t", "description": "", "parameters": {}, "metadata": {"a": 1}}]},
        {"tools": [{"name": "t", "description": "d", "parameters": None}]},
        {"forwardedProps": {"region": "eu", "params": {"n": 2, "state": 1}, "x": None}},
        {"forwardedProps": {"resume": 1, "temperature": 0}},
    ],
)
def test_fields_of_an_ag_ui_client(fields: dict[str, Any]) -> None:
    """An agent gets the fields of an AG-UI client unchanged, and no message of the hub."""
    message = {"id": "m1", "role": "user", "content": "hi"}
    raw = {"threadId": "t", "runId": "r", "messages": [message], **fields}
    run = msgspec.convert(raw, RunAgentInput)
    request = to_request(run, run.props, raw)
    body = build(AgUi({}), request.messages or [], params=request.params, metadata=request.metadata)
    unset: dict[str, Any] = {"state": {}, "context": [], "tools": [], "forwardedProps": {}}
    assert {name: body[name] for name in unset} == {**unset, **fields}
    assert body["messages"] == [message]
    assert tool_names(request.params) == {tool["name"] for tool in fields.get("tools", ())}


def test_props_for_the_hub() -> None:
    """What selects the upstream is not for the agent; the settings fill in what is empty."""
    props = {"model": "agent/m1", "upstream": "agent", "on_disconnect": "stop", "x": 1}
    raw: dict[str, Any] = {"threadId": "t", "runId": "r", "state": {}, "forwardedProps": props}
    raw["messages"] = [{"id": "m1", "role": "user", "content": "hi"}]
    run = msgspec.convert(raw, RunAgentInput)
    params = to_request(run, run.props, raw).params
    body = build(AgUi({"state": {"a": 1}}), [Message("user", "hi")], params=params, model="m1")
    assert (body["forwardedProps"], body["state"]) == ({"model": "m1", "x": 1}, {"a": 1})


def test_hub_behind_a_hub() -> None:
    """What is sent to an agent, a hub reads as the same conversation."""
    body = build(AgUi({}), CONVERSATION, params={"tools": TOOLS})
    run = msgspec.convert(body, RunAgentInput)
    assert to_request(run, run.props).messages == _with_arguments(CONVERSATION)
    _, chat = read_chat(build(AiSdk({}), CONVERSATION, params={"tools": TOOLS}))
    assert chat.messages == _with_arguments(CONVERSATION)
    assert [tool["function"]["name"] for tool in chat.params["tools"]] == ["weather", "now"]


def _with_arguments(messages: list[Message]) -> list[Message]:
    """Return the messages in the plainest form: empty arguments are an object, parts are text."""
    plain = json.loads(msgspec.json.encode(messages))
    for message in plain:
        for call in message.get("tool_calls") or ():
            call["function"]["arguments"] = call["function"]["arguments"] or "{}"
        if isinstance(message.get("content"), list):
            message["content"] = "".join(part["text"] for part in message["content"])
    return msgspec.convert(plain, list[Message])


@pytest.mark.parametrize("url", ["http://a/", "http://a/agent/", "http://a/x?k=1", "http://a"])
def test_url_of_an_agent(url: str) -> None:
    """The base URL of an agent is the whole URL: a slash at its end counts."""
    assert join_url(url, AgUi.path) == url
