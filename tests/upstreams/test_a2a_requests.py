"""What an agent is sent: messages with the conversation and files, in both versions."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.generation import GenerationRequest, Message
from hub.errors import UpstreamError
from hub.upstreams.a2a.card import AgentInterface
from hub.upstreams.a2a.request import AgentCall, Operation, build_params, build_parts
from hub.upstreams.a2a.task import SavedTask, TaskProgress

RPC = AgentInterface(url="https://agent.test/rpc", tenant="shop")
OLD = AgentInterface(url="https://agent.test/rpc", version="0.3")
REST = AgentInterface(url="https://agent.test/v1", binding="http", tenant="a b")
TALK = [
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello."),
    Message("tool", "42", tool_call_id="c"),
    Message("user", "Where?"),
]


def parts(messages: list[Message], *, knows_context: bool = False) -> list[Any]:
    request = GenerationRequest(messages, upstream="u", model="m")
    return build_parts(request, knows_context=knows_context)


def message(parts: list[Any], interface: AgentInterface = RPC) -> dict[str, Any]:
    sent: dict[str, Any] = build_params(parts, interface, {"messageId": "m"}, {})["message"]
    return sent


def test_a_conversation() -> None:
    """An agent that knows the context gets what is new; another one gets all of it."""
    transcript = "system: Be brief.\n\nuser: Hi\n\nassistant: Hello.\n\ntool: 42"
    assert parts(TALK) == [{"text": transcript}, {"text": "Where?"}]
    assert parts(TALK, knows_context=True) == [{"text": "42"}, {"text": "Where?"}]
    assert parts(TALK[-1:]) == parts(TALK[-1:], knows_context=True) == [{"text": "Where?"}]


def test_files() -> None:
    """Images and files go by their URL or with their content; other parts are refused."""
    content: list[Any] = [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
        {"type": "file", "file": {"file_data": "data:a/b;base64,YQ==", "filename": "f"}},
    ]
    assert parts([Message("user", content)]) == [
        {"text": "See"},
        {"url": "https://x/a.png"},
        {"raw": "YQ==", "mediaType": "a/b", "filename": "f"},
    ]
    sent = message([*parts([Message("user", content)]), {"data": 4}, {"data": {"a": 1}}], OLD)
    assert sent["parts"] == [
        {"kind": "text", "text": "See"},
        {"kind": "file", "file": {"uri": "https://x/a.png"}},
        {"kind": "file", "file": {"bytes": "YQ==", "mimeType": "a/b", "name": "f"}},
        {"kind": "data", "data": {"value": 4}},
        {"kind": "data", "data": {"a": 1}},
    ]
    for part in ({"type": "file", "file": {"file_id": "1"}}, {"type": "x"}):
        with pytest.raises(UpstreamError) as caught:
            parts([Message("user", [part])])
        assert caught.value.code == "upstream_unsupported"


def test_the_fields_of_a_message() -> None:
    """The agent does not wait for the end; the settings add fields; versions differ in names."""
    body = {"metadata": {"a": 1}, "configuration": {"historyLength": 0}}
    ids = {"messageId": "g1", "contextId": "c", "taskId": "t"}
    new = build_params([{"text": "Where?"}], RPC, ids, body)
    old = build_params([{"text": "Where?"}], OLD, ids, body)
    assert "taskId" not in build_params([], RPC, {**ids, "taskId": None}, body)["message"]
    assert new["message"] == {**ids, "role": "ROLE_USER", "parts": [{"text": "Where?"}]}
    part = {"kind": "text", "text": "Where?"}
    assert old["message"] == {**ids, "role": "user", "kind": "message", "parts": [part]}
    for sent, waits in ((new, ("returnImmediately", True)), (old, ("blocking", False))):
        assert sent["metadata"] == {"a": 1}
        configuration = sent["configuration"]
        assert (configuration["historyLength"], configuration[waits[0]]) == (0, waits[1])


@pytest.mark.parametrize(
    ("operation", "method", "old_method", "path"),
    [
        ("stream", "SendStreamingMessage", "message/stream", "POST /a%20b/message:stream"),
        ("send", "SendMessage", "message/send", "POST /a%20b/message:send"),
        ("subscribe", "SubscribeToTask", "tasks/resubscribe", "POST /a%20b/tasks/t%2F1:subscribe"),
        ("get", "GetTask", "tasks/get", "GET /a%20b/tasks/t%2F1"),
        ("cancel", "CancelTask", "tasks/cancel", "POST /a%20b/tasks/t%2F1:cancel"),
    ],
)
def test_operations(operation: Operation, method: str, old_method: str, path: str) -> None:
    """Each has a method of JSON-RPC, another one in 0.3, and a path of HTTP+JSON."""
    request = GenerationRequest(TALK, upstream="u", model="m")
    has_message = operation in ("stream", "send")
    message: dict[str, Any] | None = {"message": {}} if has_message else None

    def call(interface: AgentInterface) -> AgentCall:
        return AgentCall(interface, operation, TaskProgress(SavedTask(task="t/1")), message)

    sent = call(RPC).build_request(request)
    assert (sent.body["jsonrpc"], sent.body["method"]) == ("2.0", method)
    history = {"historyLength": 0} if operation == "get" else {}
    assert sent.body["params"] == {**(message or {"id": "t/1", **history}), "tenant": "shop"}
    old = call(OLD).build_request(request)
    assert (old.body["method"], old.headers) == (old_method, {"A2A-Version": "0.3"})
    rest = call(REST)
    sent = rest.build_request(request)
    assert f"{sent.method} {rest.path}" == path
    assert sent.body == (message or history)
    assert sent.headers == {"A2A-Version": "1.0"}
