"""The requests of Anthropic's Messages: what upstreams of each kind get of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.anthropic.encoder import MessageCollector
from hub.compat.anthropic.requests import read_messages
from hub.compat.anthropic.thinking import wrap
from hub.core.generation import GenerationRequest, Message
from hub.errors import BadRequest, UpstreamError
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.openai.chat import OpenAiChat
from tests.compat.history import (
    DETAILS,
    DONE,
    RECORD,
    STARTED,
    encode_all,
    event,
    reasoning_delta,
    text_delta,
)
from tests.compat.test_messages import OPENAI, REDACTED, details, signed
from tests.properties import limit_examples

CACHE = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
IMAGE = {"type": "image", "source": PNG}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}
TOOL = {"name": "weather", "description": "d", "input_schema": {"type": "object"}, **CACHE}


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def ask(*contents: Any, **fields: Any) -> dict[str, Any]:
    """Return a request in which user and assistant alternate."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": each} for n, each in enumerate(contents)]
    return {"model": "m1", "max_tokens": 9, "messages": messages, **fields}


def converted(*contents: Any, **fields: Any) -> list[Message]:
    """Return the messages that an upstream of another kind gets."""
    messages = read_messages(ask(*contents, **fields))[1].messages
    assert messages is not None
    return messages


def native_body(body: dict[str, Any], betas: tuple[str, ...] = ()) -> Any:
    """Return the request that Anthropic gets: its headers and its body."""
    generate = read_messages(body, betas, is_native=True)[1]
    request = GenerationRequest(generate.messages or [], "u", "m1", generate.params)
    return AnthropicMessages({}).build_request(request)


def test_parameters_in_the_words_of_chat_completions() -> None:
    """Parameters with a counterpart get its name, and no other server sees Anthropic's own."""
    body = ask(
        "hi",
        system="be brief",
        stop_sequences=["\n"],
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        metadata={"user_id": "u1"},
        thinking={"type": "enabled", "budget_tokens": 1024},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"a": 1}}},
        tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        context_management={"edits": []},
        mcp_servers=[],
        service_tier="auto",
        a_later_field={"x": 1},
        stream=True,
    )
    _, generate = read_messages(body, ("context-1m-2025-08-07",))
    assert generate.metadata == {"user_id": "u1"}
    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    assert generate.params == {
        "max_tokens": 9,
        "stop": ["\n"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "user": "u1",
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"a": 1}},
        },
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "weather"},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        (None, {}),
    ],
)
def test_tool_choice(choice: Any, expected: dict[str, Any]) -> None:
    """Each choice has a counterpart; without tools there is none."""
    params = read_messages(ask("hi", tools=[TOOL], tool_choice=choice))[1].params
    assert {
        name: params[name] for name in params if name not in ("max_tokens", "tools")
    } == expected
    assert read_messages(ask("hi", tool_choice=choice))[1].params == {"max_tokens": 9}


def test_long_user_id_is_hashed() -> None:
    """Command line clients send a user id that is longer than OpenAI accepts."""
    user = "user_" + "a" * 64 + "_account__session_" + "b" * 36
    hashed = [read_messages(ask("hi", metadata={"user_id": each}))[1].params["user"]
              for each in (user, user + "c")]  # fmt: skip
    assert [len(each) for each in hashed] == [64, 64]
    assert hashed[0] != hashed[1]


def test_conversation_with_tools() -> None:
    """The results of a user's message come before the rest of it."""
    messages = converted(
        [text("How is", **CACHE), text("the weather?")],
        [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            text("I "),
            text("look."),
            CALL,
        ],
        [text("more"), {**RESULT, "is_error": True}, {**RESULT, "tool_use_id": "toolu_2"}],
        system=[text("a", **CACHE), text("b")],
    )
    function = {"name": "weather", "arguments": '{"city":"Köln"}'}
    assert messages == [
        Message("system", "a\n\nb"),
        Message("user", "How is\n\nthe weather?"),
        Message(
            "assistant",
            "I look.",
            tool_calls=[{"id": "toolu_1", "type": "function", "function": function}],
            reasoning_content="hm",
            reasoning_details=[signed("hm")],
        ),
        Message("tool", "Error: rain", tool_call_id="toolu_1"),
        Message("tool", "rain", tool_call_id="toolu_2"),
        Message("user", "more"),
    ]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (IMAGE, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a.example/i.png"}},
            {"type": "image_url", "image_url": {"url": "https://a.example/i.png"}},
        ),
        (
            {
                "type": "document",
                "title": "t.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            },
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "t.pdf"},
            },
        ),
        (
            {"type": "document", "source": {"type": "file", "file_id": "f1"}},
            {"type": "file", "file": {"file_id": "f1"}},
        ),
    ],
)
def test_media(block: dict[str, Any], part: dict[str, Any]) -> None:
    """Images and files are parts of the user's message, also those of a tool's result."""
    (message,) = converted([text("see"), block])
    assert message.content == [text("see"), part]
    tool, user = converted([{**RESULT, "content": [text("a"), block, text("b")]}])
    assert (tool.role, tool.content) == ("tool", "a\n\nb")
    assert (user.role, user.content) == ("user", [part])


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {
                "type": "document",
                "title": "T",
                "context": "c",
                "source": {"type": "text", "media_type": "text/plain", "data": "d"},
            },
            "T\n\nc\n\nd",
        ),
        ({"type": "document", "source": {"type": "content", "content": "d"}}, "d"),
        (
            {"type": "document", "source": {"type": "content", "content": [text("d"), text("e")]}},
            "d\n\ne",
        ),
        (
            {
                "type": "search_result",
                "source": "https://a.example",
                "title": "T",
                "content": [text("d")],
            },
            "T\n\nhttps://a.example\n\nd",
        ),
    ],
)
def test_documents_that_are_text(block: dict[str, Any], expected: str) -> None:
    """Every upstream can take a text."""
    assert [message.content for message in converted([block])] == [expected]


def test_vendors_own_blocks_are_left_out() -> None:
    """What Anthropic ran itself means nothing to another upstream."""
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    search_result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    assert converted("hi", [search, search_result, text("a")], "b") == [
        Message("user", "hi"),
        Message("assistant", "a"),
        Message("user", "b"),
    ]
    assert [message.role for message in converted("hi", [search, search_result], "b")] == [
        "user",
        "user",
    ]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (ask([{"type": "video"}]), "blocks of type 'video'"),
        (ask([{}]), "blocks of type None"),
        (ask([{"type": "image"}]), "has no source"),
        (ask([{"type": "image", "source": {"type": "file", "file_id": "f"}}]), "sources of type"),
        (ask([{"type": "image", "source": {"type": "base64", "data": "aGk="}}]), "media_type"),
        (ask([{"type": "text"}]), "has no text"),
        (ask([{"type": "tool_result", "content": "x"}]), "has no tool_use_id"),
        (ask([{**RESULT, "content": 7}]), "must be a string or a list"),
        (ask([{**RESULT, "content": [7]}]), "must be a string or a list"),
        (ask("a", [{"type": "tool_use", "id": "x"}]), "has no name"),
        (ask("a", [{"type": "tool_use", "name": "x"}]), "has no id"),
        (ask("a", system=[IMAGE]), "may only have text"),
        (ask("a", tools=[{"input_schema": {}}]), "has no name"),
        (ask("a", tools=[TOOL], tool_choice={"type": "some"}), "tool_choice is auto"),
        (ask("a", tools=[TOOL], tool_choice={"type": "tool"}), "tool_choice is auto"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "role 'robot'"),
        ({"messages": [{"role": "user", "content": 7}]}, "content"),
        ({"messages": "hi"}, "messages"),
        ({}, "messages"),
        (ask("a", system=7), "system"),
        (ask("a", tools={}), "tools"),
        (ask("a", stop_sequences="x"), "stop_sequences"),
    ],
)
def test_what_no_upstream_can_use(body: dict[str, Any], sentence: str) -> None:
    """Such a request is refused with one sentence."""
    with pytest.raises(BadRequest, match=sentence) as raised:
        read_messages(body)
    assert "\n" not in str(raised.value)


def test_anthropic_gets_the_request_as_it_is() -> None:
    """Blocks, caching, errors of tools, thinking and unknown fields reach Anthropic unchanged."""
    thinking = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    redacted = {"type": "redacted_thinking", "data": "secret"}
    later = {"type": "a_later_block", "x": [1]}
    result = {**RESULT, "is_error": True, "content": [text("a"), IMAGE], **CACHE}
    document = {"type": "document", "source": PNG, "citations": {"enabled": True}, "title": "t"}
    body = ask(
        [text("see", **CACHE), IMAGE, document, later],
        [thinking, text("I look.", **CACHE), redacted, CALL, thinking],
        [result, text("more", **CACHE)],
        system=[text("be brief", **CACHE)],
        tools=[TOOL, {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        stop_sequences=["\n"],
        temperature=0.5,
        top_k=4,
        metadata={"user_id": "u" * 200},
        thinking={"type": "enabled", "budget_tokens": 1024},
        output_config={"effort": "low"},
        context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
        a_later_field={"x": 1},
        cache_control={"type": "ephemeral"},
        stream=False,
        upstream="u",
        on_disconnect="stop",
    )
    sent = native_body(body, ("interleaved-thinking-2025-05-14", "b"))
    assert sent.headers == {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "interleaved-thinking-2025-05-14,b",
    }
    own = ("upstream", "on_disconnect", "stream")
    assert dict(sent.body) == {
        **{name: value for name, value in body.items() if name not in own},
        "stream": True,
    }


def test_anthropic_gets_only_what_it_has_signed() -> None:
    """What another upstream has thought, and empty text, would be refused."""
    merged = wrap([signed("a", "1"), REDACTED, signed("b", "2"), OPENAI])
    answer = [
        {"type": "thinking", "thinking": "ab", "signature": merged},
        {"type": "thinking", "thinking": "of another", "signature": ""},
        {"type": "thinking", "thinking": "of OpenAI", "signature": wrap([OPENAI])},
        {"type": "redacted_thinking", "data": wrap([OPENAI])},
        {"type": "thinking", "thinking": "changed", "signature": "hub1_%%"},
        text(""),
        {**CALL, "extra_content": {"google": 1}},
    ]
    assert native_body(ask("hi", answer)).body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "1"},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "thinking", "thinking": "b", "signature": "2"},
        CALL,
    ]


@pytest.mark.parametrize(("given", "expected"), [("own", "own"), (None, "of every request")])
def test_system_prompt_of_every_request(given: str | None, expected: str) -> None:
    """The settings' prompt counts unless the client sends one."""
    generate = read_messages(ask("hi", system=given), is_native=True)[1]
    request = GenerationRequest(generate.messages or [], "u", "m1", generate.params)
    body = AnthropicMessages({"system": "of every request"}).build_request(request).body
    assert body["system"] == expected


@pytest.mark.parametrize("value", ["a", [1], ["a\r\nb: c"], ["a b"], {}])
def test_features_that_are_no_names(value: Any) -> None:
    """A parameter never becomes another header."""
    request = GenerationRequest([Message("user", "hi")], "u", "m1", {"anthropic_beta": value})
    with pytest.raises(UpstreamError, match="anthropic_beta"):
        AnthropicMessages({}).build_request(request)


_details = st.lists(
    st.sampled_from([signed("hm"), signed("hm", "2"), signed("other"), REDACTED, OPENAI]),
    max_size=3,
)


@given(st.booleans(), _details)
@settings(max_examples=limit_examples(40), deadline=None)
def test_reasoning_goes_back(has_reasoning: bool, given_details: list[dict[str, Any]]) -> None:
    """The details of any vendor that an answer had reach that vendor with the next request."""
    story = [STARTED, *([reasoning_delta("hm")] if has_reasoning else []), details(*given_details)]
    collector = MessageCollector(RECORD)
    encode_all(collector, [*story, text_delta("Yes."), DONE])
    answer = collector.document()["content"]
    _, message = converted("hi", answer)
    assert message.content == "Yes."
    assert (message.reasoning_details or []) == given_details
    if has_reasoning:
        assert (message.reasoning_content or "").startswith("hm")
    claude = [each for each in given_details if each is not OPENAI]
    sent = native_body(ask("hi", [*answer, CALL])).body["messages"][1]["content"]
    kinds = ["redacted_thinking" if each is REDACTED else "thinking" for each in claude]
    assert [each["type"] for each in sent] == [*kinds, "text", "tool_use"]
    shown = [(each.get("thinking"), each.get("signature")) for each in sent[:-2]]
    assert shown == [(each.get("text"), each.get("signature")) for each in claude]


def test_fields_of_a_call_go_back() -> None:
    """Fields of a call that a vendor needs back travel in the block."""
    extra = {"extra_content": {"google": {"thought_signature": "s"}}}
    function = {"name": "f", "arguments": "{}"}
    call = {"id": "c1", "type": "function", "function": function, **extra}
    collector = MessageCollector(RECORD)
    delta = event("delta", i=0, tool_calls=[{"index": 0, **call}])
    encode_all(collector, [STARTED, DETAILS, delta, DONE])
    _, message = converted("hi", collector.document()["content"])
    assert message.tool_calls == [call]
    generate = GenerationRequest([message], "u", "m1")
    assert OpenAiChat({}).build_request(generate).body["messages"][0]["tool_calls"] == [call]
