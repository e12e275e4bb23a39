"""What only Anthropic's Messages have, from an upstream with this API to its clients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from hub.compat.ai_sdk.encoder import AiSdkEncoder
from hub.compat.anthropic.encoder import MessageCollector, MessageEncoder
from hub.core.message_blocks import BLOCK_DATA, STOP_DATA, BlockJoiner, split_block
from hub.core.parts import Data, Finished, Part, Text, Usage
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.reading.stream_reader import StreamReader
from tests.compat.history import (
    DONE,
    RECORD,
    RESTARTED,
    STARTED,
    Event,
    continued,
    encode_all,
    event,
    text_delta,
    tool_call_delta,
)
from tests.compat.test_messages import fold, kinds_of, stream, whole, without_none
from tests.upstreams.kit import REQUEST

NATIVE: Final = msgspec.structs.replace(REQUEST, params={"system": []})
SEARCH: Final = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "Köln \U0001f327"},
}
PAGE: Final = {"type": "web_search_result", "url": "https://a.example", "title": "A"}
RESULT: Final = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{**PAGE, "encrypted_content": "e" * 30_000} for _ in range(5)],
}


def sent(*, whole_message: bool, stop: dict[str, Any]) -> bytes:
    """Return the response of the API: a search between two texts."""
    texts = [{"type": "text", "text": text} for text in ("I look.", "It rains.")]
    if whole_message:
        content = [texts[0], SEARCH, RESULT, texts[1]]
        message = {"type": "message", "content": content, "usage": {}, **stop}
        return b"data: " + json.dumps(message).encode() + b"\n\n"
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"content": []}}]
    for index, block in enumerate((texts[0], SEARCH, RESULT, texts[1])):
        start = {**block, "input": {}} if block is SEARCH else block
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        for chunk in (json.dumps(SEARCH["input"])[:9], json.dumps(SEARCH["input"])[9:]):
            if block is SEARCH:
                delta = {"type": "input_json_delta", "partial_json": chunk}
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": stop}, {"type": "message_stop"}]
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)


def read(data: bytes, request: Any = NATIVE) -> list[Part]:
    reader = StreamReader(AnthropicMessages({}), 2**20, (), request)
    parts = [*reader.feed(data)]
    assert reader.failure is None
    return [*parts, *reader.end(), *reader.finish()]


def to_history(parts: Sequence[Part]) -> list[Event]:
    """Return the events of an answer with these parts."""
    events: list[Event] = [STARTED]
    for i, part in enumerate(parts):
        match part:
            case Text(text):
                events.append(event("delta", i=i, text=text))
            case Finished(reason):
                events.append(event("done", finish_reason=reason))
            case Usage():
                pass
            case _:
                events.append(event("part", i=i, **msgspec.to_builtins(part)))
    return events


@pytest.mark.parametrize("whole_message", [False, True])
@pytest.mark.parametrize(
    "stop",
    [
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        {"stop_reason": "pause_turn", "stop_sequence": None},
        {"stop_reason": "model_context_window_exceeded", "stop_sequence": None},
        {"stop_reason": "end_turn", "stop_sequence": None},
        {"stop_reason": "max_tokens", "stop_sequence": None},
    ],
)
def test_blocks_and_stop_reason_pass_through(whole_message: bool, stop: dict[str, Any]) -> None:
    """A client of the same API gets the blocks and the reason as the upstream has sent them."""
    history = to_history(read(sent(whole_message=whole_message, stop=stop)))
    assert max(len(data) for _, data in history) < 64 * 1024
    for message in (fold(stream(history)), whole(history)):
        assert {name: message[name] for name in stop} == stop
        given = [without_none(block) for block in message["content"]]
        assert given == [
            {"type": "text", "text": "I look."},
            SEARCH,
            RESULT,
            {"type": "text", "text": "It rains."},
        ]
    kinds = kinds_of(stream(history))
    assert ("content_block_start", 1, "server_tool_use") in kinds
    assert ("content_block_delta", 1, "input_json_delta") in kinds
    assert kinds.count(("content_block_stop", 2)) == 1


def test_other_clients_get_no_blocks() -> None:
    """A request in the words of another API gets the text, and a reason that every client knows."""
    stop = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    for whole_message in (False, True):
        parts = read(sent(whole_message=whole_message, stop=stop), REQUEST)
        assert [part for part in parts if not isinstance(part, Usage)] == [
            Text("I look."),
            Text("It rains."),
            Finished("stop"),
        ]


def test_call_of_a_client_is_the_reason() -> None:
    """The reason is tool_use when the client has a tool to run, whatever else was reported."""
    stop = Data(STOP_DATA, {"stop_reason": "pause_turn", "stop_sequence": None})
    history = to_history([stop])
    history += [tool_call_delta(0, "{}", id="t", name="f"), DONE]
    assert fold(stream(history))["stop_reason"] == whole(history)["stop_reason"] == "tool_use"


def test_answer_that_begins_again() -> None:
    """A stream that has sent a block cannot take it back; the whole message has the newest one."""
    blocks = to_history([Text("a"), *split_block(SEARCH)])
    cut = continued(1, {"type": "text", "text": "a"})
    for again in (RESTARTED, cut):
        history = [*blocks, again, text_delta("b"), DONE]
        assert stream(history)[-1]["type"] == "error"
        content = whole(history)["content"]
        assert [block["type"] for block in content] == ["text"]
    unfinished = to_history([*split_block(RESULT)][:1])
    history = [*unfinished, RESTARTED, *to_history([*split_block(SEARCH)])[1:], DONE]
    assert fold(stream(history))["content"][0]["type"] == "server_tool_use"


@pytest.mark.parametrize(
    "value", [None, 7, {"json": 7}, {"json": "{"}, {"json": "[]"}, {"json": '{"type":1}'}]
)
def test_data_of_an_application_with_the_same_name(value: Any) -> None:
    """What is no block is left out."""
    assert BlockJoiner().add(value) is None
    history = to_history([Data(BLOCK_DATA, value), Data(STOP_DATA, value), Text("a")])
    message = fold(stream([*history, DONE]))
    assert message["stop_reason"] == "end_turn"
    assert [block["type"] for block in message["content"]] == ["text"]
    assert encode_all(MessageCollector(RECORD), history) == []
    assert encode_all(AiSdkEncoder(RECORD), history)
    assert encode_all(MessageEncoder(RECORD), history)
